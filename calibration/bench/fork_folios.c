// fork costs per 4 KiB pte when the ptes belong to large folios: --kib 16...512 (needs root: the size is a setting of
// the whole machine, put back before anything is timed), or --split: 2 MiB pages mapped by ptes.
#include "spawn.h"
#include "folios.h"

static char *build_folios(long pages, long kib)
{
    size_t bytes = ((size_t)pages * PAGE_BYTES + HUGE_BYTES - 1) & ~(size_t)(HUGE_BYTES - 1);
    char *start = map_aligned(bytes, HUGE_BYTES, 0);
    if (madvise(start, bytes, MADV_HUGEPAGE) < 0)
        unavailable("the kernel has no transparent huge pages");
    choose_folios(kib);
    write_each(start, (size_t)pages, PAGE_BYTES, false);
    restore_settings();
    return start;
}

static char *build_split(long pages)
{   // protecting one page of each 2 MiB and unprotecting it leaves the folio whole, mapped by ptes, in one vma
    long huge = (pages + 511) / 512;
    char *start = build_thp(huge);
    for (long i = 0; i < huge; i++)
        if (mprotect(start + i * HUGE_BYTES, PAGE_BYTES, PROT_READ) < 0 ||
            mprotect(start + i * HUGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE) < 0)
            die("mprotect: %s", strerror(errno));
    if (proc_number("/proc/self/smaps_rollup", "AnonHugePages:") > 0)
        unavailable("mprotect did not split the pmd mappings");
    return start;
}

int main(int argc, char **argv)
{
    bench_start("fork_folios", argc, argv);
    struct spawn s = spawn_options("fork");
    long pages = option_long("pages", 16384, 1, 1L << 28), kib = option_long("kib", 64, 8, 1024);
    bool split = option_flag("split");
    options_end();
    need_memory((double)pages * PAGE_BYTES);
    spawn_prepare(&s);
    region_start = split ? build_split(pages) : build_folios(pages, kib);
    region_bytes = (size_t)pages * PAGE_BYTES;
    folios_check();
    spawn_run(&s);
    return 0;
}
