// Unmapping a region whose pages were written: zapping ptes, freeing pages and page tables. --kib: pages of folios of
// that size (needs root). --split: of folios of 2 MiB that are mapped by ptes.
#include "region.h"

int main(int argc, char **argv)
{
    bench_start("munmap", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS);
    struct region r = region_options();
    long kib = option_long("kib", 0, 0, 1024);
    bool split = option_flag("split");
    options_end();
    value_total = true;
    region_choose(&r, kib);
    r.folios = r.folios || split;
    region_check(&r);
    region_checked(&r);
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        region_unmap(&r);
        region_map(&r);
        region_write(&r);
        if (split)
            region_split(&r);
        int64_t from = now_ns();
        region_unmap(&r);
        value_put(now_ns() - from, r.count, 0);
        region_map(&r);
    }
    value_print();
    return 0;
}
