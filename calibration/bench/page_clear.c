// Clearing 4 KiB at user level: one hot page (--mib 0), or each page of a region larger than the caches;
// --beside N: while N threads on other CPUs do the same.
#include "value.h"
#include "parent.h"
#include "beside.h"

int main(int argc, char **argv)
{
    bench_start("page_clear", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), mib = option_long("mib", 0, 0, 1 << 16);
    long beside = option_long("beside", 0, 0, 512);
    options_end();
    long pages = mib ? mib << 8 : 1, n = mib ? pages : 2000;
    need_memory((double)pages * PAGE_BYTES * 1);
    char *to = map_4k((size_t)pages * PAGE_BYTES, 0);
    write_each(to, (size_t)pages, PAGE_BYTES, false);
    start_beside(beside, mib ? mib : 64, false);
    VALUE_LOOP(n, reps, memset(to + i_ % pages * PAGE_BYTES, 0, PAGE_BYTES);
               __asm__ volatile("" ::: "memory"));
    return 0;
}
