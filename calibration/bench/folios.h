// Folios of a chosen size for memory that is advised huge: a setting of the whole machine, which needs root and is put
// back at the end, by a signal too.
#ifndef FOLIOS_H
#define FOLIOS_H
#include "harness.h"

static struct setting { char path[128], before[16]; } settings[16];
static int setting_count;

static inline void restore_settings(void)
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

static inline void restore_and_die(int signal_number)
{
    restore_settings();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static inline void change_setting(long kib, const char *value)
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

static inline void choose_folios(long kib)
{   // no larger ones meanwhile, which a huge-page vma would get first
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGQUIT};
    if (kib & (kib - 1))
        die("--kib %ld is no power of two", kib);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], restore_and_die);
    atexit(restore_settings);
    for (long size = 8; size <= 2048; size *= 2)
        if (size != kib && (size == 2048 || size > kib))
            change_setting(size, "never");
    change_setting(kib, "madvise");
}

static inline double compound_fraction(void)
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

static inline void folios_check(void)
{   // of the region: is it what was asked for, as far as this user may see?
    double compound = compound_fraction();
    if (compound >= 0 && compound < 0.9)
        unavailable("the kernel gave small pages instead");
    if (compound >= 0)
        header_add("\"compound\":%.4f", compound);
    else
        header_add("\"compound\":null");
}
#endif
