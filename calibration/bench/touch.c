// The first write to each page of a fresh anonymous region: fault, allocation, clearing, page tables.
// --read: the first read, which maps the zero page. --after-read: the first write to what was read. --kib: pages in
// folios of that size (needs root).
#include "region.h"

static void region_read(const struct region *r)
{
    volatile const char *at = r->start;
    for (long i = 0; i < r->count; i++)
        (void)at[(size_t)i * r->stride];
}

int main(int argc, char **argv)
{
    bench_start("touch", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS);
    struct region r = region_options();
    bool reads = option_flag("read"), after_read = option_flag("after-read");
    long kib = option_long("kib", 0, 0, 1024);
    options_end();
    value_total = true;
    region_choose(&r, kib);
    region_check(&r);
    region_checked(&r);
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        region_unmap(&r);
        region_map(&r);
        if (after_read)
            region_read(&r);
        long faults = minor_faults();
        int64_t from = now_ns();
        if (reads)
            region_read(&r);
        else
            region_write(&r);
        value_put(now_ns() - from, r.count, minor_faults() - faults);
    }
    value_print();
    return 0;
}
