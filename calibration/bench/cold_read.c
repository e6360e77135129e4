// Reading a file whose pages are not in the page cache: what one read of the storage takes, and each KiB of it.
// POSIX_FADV_RANDOM: exactly what is asked for is read; the file is this bench's own, so nothing else loses its cache.
// --installed: libc.a instead, which no program maps: a file that came with the system may lie deeper in the storage (a
// snapshot's base, an image that the host holds in no cache) than one just written.
#include "parent.h"
#include "value.h"
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#define TMPFS 0x01021994
#define RAMFS 0x858458f6L

static long read_ahead_kib(int fd)
{   // of the disk below the file; a partition has its disk one folder up
    char path[128], text[32];
    struct stat status;
    fstat(fd, &status);
    for (int up = 0; up < 2; up++) {
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%squeue/read_ahead_kb", major(status.st_dev),
                 minor(status.st_dev), up ? "../" : "");
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
        if (file >= 0)
            close(file);
        if (got > 0) {
            text[got] = 0;
            return atol(text);
        }
    }
    return -1;
}

static int installed_file(long bytes)
{
    static const char *const paths[] = {"/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib64/libc.a", "/usr/lib/libc.a"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct stat status;
        int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size >= bytes)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    unavailable("there is no libc.a of this size: install libc's headers");
}

int main(int argc, char **argv)
{
    bench_start("cold_read", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), kib = option_long("kib", 4, 4, 2048);
    long n = option_long("n", 16, 1, 64);
    bool installed = option_flag("installed");
    options_end();
    struct statfs mounted;
    int fd = installed ? installed_file(n * kib << 10) : temporary_file(n * kib / 4);
    char *buffer = map_4k((size_t)kib << 10, 0);
    write_each(buffer, (size_t)kib / 4, PAGE_BYTES, false);
    if (fstatfs(fd, &mounted) < 0 || mounted.f_type == TMPFS || mounted.f_type == RAMFS)
        unavailable("the folder of temporary files lies in memory: set TMPDIR to one on a disk");
    if ((!installed && fsync(fd) < 0) || posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
        die("temporary file: %s", strerror(errno));
    long ahead = read_ahead_kib(fd);
    if (ahead >= 0)
        header_add("\"counts\":{\"read_ahead_kib\":%ld}", ahead);
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
            die("posix_fadvise: %s", strerror(errno));
        long faults = minor_faults();
        int64_t from = now_ns();
        for (long i = 0; i < n; i++)
            if (pread(fd, buffer, (size_t)kib << 10, (i * 7 % n) * (kib << 10)) != kib << 10)
                die("the file is short: %s", strerror(errno));
        value_put(now_ns() - from, n, minor_faults() - faults);
    }
    value_print();
    return 0;
}
