// A region made anew for each repetition: dense 4 KiB pages, one page in each 2 MiB, 2 MiB pages, or dense pages of
// larger folios.
#ifndef REGION_H
#define REGION_H
#include "parent.h"
#include "folios.h"
#include "value.h"

struct region { char *start; size_t bytes, stride; long count; bool thp, folios; };

static inline struct region region_options(void)
{
    struct region r = {0};
    r.count = option_long("pages", 1024, 1, 1L << 26);
    r.thp = option_flag("thp");
    bool sparse = option_flag("sparse");
    r.stride = r.thp || sparse ? HUGE_BYTES : PAGE_BYTES;
    r.bytes = (size_t)r.count * r.stride;
    need_memory((double)r.count * (double)(r.thp ? HUGE_BYTES : sparse ? 2 * PAGE_BYTES : PAGE_BYTES));
    return r;
}

static inline void region_choose(struct region *r, long kib)
{   // folios of so many KiB for the pages that are written from now on; 0: small ones
    r->folios = kib > 0;
    if (r->folios)
        choose_folios(kib);
}

static inline void region_checked(const struct region *r)
{   // did it get the folios? It has been written
    if (!r->folios)
        return;
    region_start = r->start;
    region_bytes = (size_t)r->count * PAGE_BYTES;
    folios_check();
}

static inline void region_map(struct region *r)
{
    r->start = map_aligned(r->bytes, HUGE_BYTES, MAP_NORESERVE);
    madvise(r->start, r->bytes, r->thp || r->folios ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

static inline void region_write(const struct region *r)
{
    write_each(r->start, (size_t)r->count, r->stride, false);
}

static inline void region_split(const struct region *r)
{   // protecting one page of each 2 MiB and unprotecting it leaves the folio whole, mapped by ptes, in one vma
    for (char *at = r->start; at < r->start + r->bytes; at += HUGE_BYTES)
        if (mprotect(at, PAGE_BYTES, PROT_READ) < 0 || mprotect(at, PAGE_BYTES, PROT_READ | PROT_WRITE) < 0)
            die("mprotect: %s", strerror(errno));
}

static inline void region_unmap(const struct region *r)
{
    if (munmap(r->start, r->bytes) < 0)
        die("munmap: %s", strerror(errno));
}

static inline void region_check(struct region *r)
{   // one round before anything is timed: are the pages of the kind that was asked for?
    region_map(r);
    region_write(r);
    if (r->thp && proc_number("/proc/self/smaps_rollup", "AnonHugePages:") < (long)r->bytes)
        unavailable("transparent huge pages were asked for and not given");
}
#endif
