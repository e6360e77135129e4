// Reading a privately mapped file in the page cache, page by page: faults that each map several pages around.
#include "parent.h"
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("file_fault", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), pages = option_long("pages", 1024, 1, 1 << 20);
    options_end();
    need_memory((double)pages * PAGE_BYTES * 2);
    int fd = temporary_file(pages);
    value_total = true;
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        volatile char *start = mmap(NULL, (size_t)pages * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (start == MAP_FAILED)
            die("mmap: %s", strerror(errno));
        long faults = minor_faults();
        int64_t from = now_ns();
        for (long i = 0; i < pages; i++)
            (void)start[i * PAGE_BYTES];
        value_put(now_ns() - from, pages, minor_faults() - faults);
        munmap((char *)start, (size_t)pages * PAGE_BYTES);
    }
    value_print();
    return 0;
}
