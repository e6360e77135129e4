// Following pointers in random order over many pages, so that each reference may need an address translation.
// One line a page (lines staggered over the cache's sets), or as many lines packed into as few pages as hold them: the
// same cache footprint with next to no translations. --lines K: K lines in each page, each in a 4 KiB part of its own,
// which tells whether a 2 MiB page is one translation or is held in the 4 KiB pieces that back it.
#include "parent.h"
#include "value.h"

struct layout { long pages, lines; size_t page_bytes; bool packed; };

static size_t line_offset(const struct layout *l, size_t i)
{   // of the i-th line from the start of the region
    if (l->packed)
        return i * 64;
    size_t page = i / (size_t)l->lines, part = i % (size_t)l->lines, parts = l->page_bytes / PAGE_BYTES;
    size_t inside = (permuted(part, parts) + page * 37) % parts; // no stride that a few of the TLB's sets would hold
    return page * l->page_bytes + inside * PAGE_BYTES + (i * 0x9E3779B97F4A7C15ULL >> 58) * 64;
}

static char *build_pages(const struct layout *l)
{
    size_t count = (size_t)l->pages * (size_t)l->lines;
    size_t bytes = l->packed ? count * 64 : (size_t)l->pages * l->page_bytes;
    bytes = (bytes + l->page_bytes - 1) / l->page_bytes * l->page_bytes;
    if (l->page_bytes == HUGE_BYTES)
        return build_thp((long)(bytes / HUGE_BYTES));
    need_memory((double)bytes);
    char *start = map_4k(bytes, 0);
    write_each(start, bytes / PAGE_BYTES, PAGE_BYTES, false);
    return start;
}

int main(int argc, char **argv)
{
    bench_start("tlb_chase", argc, argv);
    long reps = option_long("reps", 7, 1, MAX_REPS), n = option_long("n", 100000, 1, 100000000);
    struct layout l = {.pages = option_long("pages", 64, 2, 1L << 22)};
    l.lines = option_long("lines", 1, 1, 512);
    l.page_bytes = option_flag("huge") ? HUGE_BYTES : PAGE_BYTES;
    l.packed = option_flag("packed");
    options_end();
    if ((size_t)l.lines > l.page_bytes / PAGE_BYTES)
        die("--lines %ld: at most one in each 4 KiB of a page", l.lines);
    size_t count = (size_t)l.pages * (size_t)l.lines;
    char *start = build_pages(&l);
    for (size_t i = 0; i < count; i++) { // one cycle through all lines
        size_t here = permuted(i, count), next = permuted((i + 1) % count, count);
        *(void **)(start + line_offset(&l, here)) = start + line_offset(&l, next);
    }
    void *volatile *at = (void *volatile *)(start + line_offset(&l, permuted(0, count)));
    for (size_t i = 0; i < count; i++)
        at = (void *volatile *)*at;
    VALUE_LOOP(n, reps, at = (void *volatile *)*at);
    return at == NULL;
}
