// One pass over pages in random order right after a flush of the TLB, one line a page: what refilling it costs.
// --flush full: mprotect of more pages than the kernel flushes one by one (33); page: of a single page; none: of pages
// that were never touched, the same call without a flush. --extra: less the time of the next pass, which finds it full.
#include "parent.h"
#include "value.h"

#define FULL_PAGES 64

static char *chain(long pages, bool huge)
{   // the start of a cycle that visits a line of each page
    size_t page_bytes = huge ? HUGE_BYTES : PAGE_BYTES, count = (size_t)pages;
    need_memory((double)count * (double)page_bytes);
    char *start = huge ? build_thp(pages) : map_4k(count * page_bytes, 0);
    for (size_t i = 0; i < count; i++) {
        size_t here = permuted(i, count), next = permuted((i + 1) % count, count);
        *(void **)(start + here * page_bytes + here % 64 * 64) = start + next * page_bytes + next % 64 * 64;
    }
    return start + permuted(0, count) * page_bytes + permuted(0, count) % 64 * 64;
}

static void *volatile *pass(void *volatile *at, long pages)
{
    for (long i = 0; i < pages; i++)
        at = (void *volatile *)*at;
    return at;
}

static void protect(char *start, size_t bytes, int protection)
{
    if (mprotect(start, bytes, protection) < 0)
        die("mprotect: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    bench_start("tlb_refill", argc, argv);
    long reps = option_long("reps", 40, 1, MAX_REPS), pages = option_long("pages", 256, 2, 1L << 22);
    bool huge = option_flag("huge");
    const char *flush = option_text("flush", "full");
    bool extra = option_flag("extra");
    options_end();
    one_of("flush", flush, "full page none");
    size_t bytes = !strcmp(flush, "page") ? PAGE_BYTES : FULL_PAGES * PAGE_BYTES;
    char *flushed = map_4k(bytes, 0);
    if (strcmp(flush, "none"))
        write_each(flushed, bytes / PAGE_BYTES, PAGE_BYTES, false);
    void *volatile *at = pass((void *volatile *)chain(pages, huge), pages);
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        protect(flushed, bytes, PROT_READ | PROT_WRITE);
        at = pass(pass(at, pages), pages);
        protect(flushed, bytes, PROT_READ);
        int64_t from = now_ns();
        at = pass(at, pages);
        int64_t flushed_ns = now_ns() - from;
        from = now_ns();
        at = pass(at, pages);
        int64_t full_ns = extra ? now_ns() - from : 0;
        value_put(flushed_ns > full_ns ? flushed_ns - full_ns : 0, pages, 0);
    }
    value_print();
    return at == NULL;
}
