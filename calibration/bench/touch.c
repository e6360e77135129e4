// The first write to each page of a fresh anonymous region: fault, allocation, clearing, page tables.
#include "region.h"

int main(int argc, char **argv)
{
    bench_start("touch", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS);
    struct region r = region_options();
    options_end();
    value_total = true;
    region_check(&r);
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        region_unmap(&r);
        region_map(&r);
        long faults = minor_faults();
        int64_t from = now_ns();
        region_write(&r);
        value_put(now_ns() - from, r.count, minor_faults() - faults);
    }
    value_print();
    return 0;
}
