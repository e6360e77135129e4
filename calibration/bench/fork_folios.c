// fork costs per 4 KiB pte when the ptes belong to large folios: --kib 16...512 (needs root: the size is a setting of
// the whole machine, put back before anything is timed), or --split: 2 MiB pages mapped by ptes.
#include "spawn.h"

static struct setting { char path[128], before[16]; } settings[16];
static int setting_count;

static void restore_settings(void)
{   // async-signal-safe
    for (int i = 0; i < setting_count; i++) {
        int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            (void)!write(fd, settings[i].before, strlen(settings[i].before));
            close(fd);
        }
    }
    setting_count = 0;
}

static void restore_and_die(int signal_number)
{
    restore_settings();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void change_setting(long kib, const char *value)
{
    struct setting *s = &settings[setting_count];
    char text[128] = "", *from, *to;
    snprintf(s->path, sizeof s->path, "/sys/kernel/mm/transparent_hugepage/hugepages-%ldkB/enabled", kib);
    int fd = open(s->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        unavailable("the folio sizes of this kernel cannot be set");
    (void)!read(fd, text, sizeof text - 1);
    if ((from = strchr(text, '[')) && (to = strchr(from, ']')) && to - from - 1 < (long)sizeof s->before) {
        memcpy(s->before, from + 1, (size_t)(to - from - 1));
        setting_count++;
        lseek(fd, 0, SEEK_SET);
        if (write(fd, value, strlen(value)) < 0)
            unavailable("the folio sizes of this kernel cannot be set");
    }
    close(fd);
}

static double compound_fraction(void)
{   // of the region's pages, how many belong to a compound page; < 0 if kpageflags may not be read
    long seen = 0, compound = 0;
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
    for (size_t page = 0; map >= 0 && flags >= 0 && page < region_bytes / PAGE_BYTES; page++) {
        uint64_t entry = 0, bits = 0;
        if (pread(map, &entry, 8, (off_t)(((uintptr_t)region_start / PAGE_BYTES + page) * 8)) != 8 || !(entry >> 63))
            continue;
        if (pread(flags, &bits, 8, (off_t)((entry & ((1ULL << 55) - 1)) * 8)) != 8)
            continue;
        seen++;
        compound += (bits >> 15 & 3) != 0; // KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL
    }
    close(map);
    close(flags);
    return seen ? (double)compound / (double)seen : -1;
}

static char *build_folios(long pages, long kib)
{   // no 2 MiB pages meanwhile, which a huge-page vma would get first
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGQUIT};
    size_t bytes = ((size_t)pages * PAGE_BYTES + HUGE_BYTES - 1) & ~(size_t)(HUGE_BYTES - 1);
    char *start = map_aligned(bytes, HUGE_BYTES, 0);
    if (madvise(start, bytes, MADV_HUGEPAGE) < 0)
        unavailable("the kernel has no transparent huge pages");
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], restore_and_die);
    atexit(restore_settings);
    for (long size = 8; size <= 2048; size *= 2)
        if (size != kib && (size == 2048 || size > kib))
            change_setting(size, "never");
    change_setting(kib, "madvise");
    write_each(start, (size_t)pages, PAGE_BYTES, false);
    restore_settings();
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
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
    if (kib & (kib - 1))
        die("--kib %ld is no power of two", kib);
    spawn_prepare(&s);
    region_start = split ? build_split(pages) : build_folios(pages, kib);
    region_bytes = (size_t)pages * PAGE_BYTES;
    double compound = compound_fraction();
    if (compound >= 0 && compound < 0.9)
        unavailable("the kernel gave small pages instead");
    if (compound >= 0)
        header_add("\"compound\":%.4f", compound);
    else
        header_add("\"compound\":null");
    spawn_run(&s);
    return 0;
}
