// Builds what a parent is made of: pages, page tables, huge pages, vmas, fds, threads.
// All writes are volatile, so that the compiler drops none; 4 KiB regions are MADV_NOHUGEPAGE,
// so that a host with THP "always" has the same ptes.
#ifndef PARENT_H
#define PARENT_H
#include "harness.h"
#include <pthread.h>

static inline char *map_aligned(size_t bytes, size_t align, int flags)
{
    char *raw = mmap(NULL, bytes + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (raw == MAP_FAILED)
        die("mmap of %zu MiB: %s", bytes >> 20, strerror(errno));
    char *start = (char *)(((uintptr_t)raw + align - 1) & ~(uintptr_t)(align - 1));
    if (start > raw)
        munmap(raw, (size_t)(start - raw));
    munmap(start + bytes, (size_t)(raw + align - start)); // what is left of the slack
    return start;
}

static inline char *map_4k(size_t bytes, int flags)
{
    char *start = map_aligned(bytes, HUGE_BYTES, flags);
    madvise(start, bytes, MADV_NOHUGEPAGE); // EINVAL: a kernel without THP
    return start;
}

static inline uint64_t permuted(uint64_t i, uint64_t n)
{   // a bijection on 0..n-1 without a table (Feistel rounds, walking on while outside)
    int half = 1;
    while (1ULL << (2 * half) < n)
        half++;
    uint64_t mask = (1ULL << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 1; round <= 4; round++) {
            uint64_t next = left ^ (((right + round * 0x632BE59BD9B4E019ULL) * 0x9E3779B97F4A7C15ULL) >> (64 - half));
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

static inline void write_each(char *start, size_t count, size_t stride, bool random)
{
    volatile char *at = start;
    for (size_t i = 0; i < count; i++)
        at[(random ? permuted(i, count) : i) * stride] = 1;
}

static inline char *build_touched(long pages, bool random)
{
    if (!pages)
        return NULL;
    need_memory((double)pages * PAGE_BYTES);
    char *start = map_4k((size_t)pages * PAGE_BYTES, 0);
    write_each(start, (size_t)pages, PAGE_BYTES, random);
    region_start = start;
    region_bytes = (size_t)pages * PAGE_BYTES;
    return start;
}

static inline void build_sparse(long count, size_t stride)
{   // one touched page in each stride; NORESERVE: the span may be larger than memory
    if (!count)
        return;
    need_memory((double)count * 3 * PAGE_BYTES);
    char *start = map_aligned((size_t)count * stride, stride, MAP_NORESERVE);
    madvise(start, (size_t)count * stride, MADV_NOHUGEPAGE);
    write_each(start, (size_t)count, stride, false);
}

static inline char *build_thp(long count)
{
    if (!count)
        return NULL;
    need_memory((double)count * HUGE_BYTES);
    size_t bytes = (size_t)count * HUGE_BYTES;
    char *start = map_aligned(bytes, HUGE_BYTES, 0);
    if (madvise(start, bytes, MADV_HUGEPAGE) < 0)
        unavailable("the kernel has no transparent huge pages");
    write_each(start, (size_t)count, HUGE_BYTES, false);
    if (proc_number("/proc/self/smaps_rollup", "AnonHugePages:") < (long)bytes)
        unavailable("transparent huge pages were asked for and not given");
    return start;
}

static inline int temporary_file(long pages)
{   // an unlinked file whose pages are in the page cache
    char name[4096];
    static const char block[PAGE_BYTES] = {1};
    const char *folder = getenv("TMPDIR");
    snprintf(name, sizeof name, "%s/spawncost-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(name);
    if (fd < 0)
        die("%s: %s", name, strerror(errno));
    unlink(name);
    for (long i = 0; i < pages; i++)
        if (write(fd, block, PAGE_BYTES) != PAGE_BYTES)
            die("temporary file: %s", strerror(errno));
    return fd;
}

static inline char *vma_at(char *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    char *start = mmap(at, bytes, protection, flags | MAP_FIXED, fd, offset);
    if (start == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    return start;
}

static const char *const vma_kinds = "anon_empty anon_page file_clean file_dirty shared_anon guard dontfork wipeonfork";

static inline void build_vma(const char *kind, char *at, int fd, off_t offset)
{
    int writable = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
    bool file = !strncmp(kind, "file_", 5), guard = !strcmp(kind, "guard");
    if (!strcmp(kind, "shared_anon"))
        anon = MAP_SHARED | MAP_ANONYMOUS;
    volatile char *start = file ? vma_at(at, PAGE_BYTES, writable, MAP_PRIVATE, fd, offset)
                                : vma_at(at, PAGE_BYTES, guard ? PROT_NONE : writable, anon, -1, 0);
    if (!strcmp(kind, "file_clean"))
        (void)start[0];
    else if (!guard && strcmp(kind, "anon_empty"))
        start[0] = 1;
    if (!strcmp(kind, "dontfork"))
        madvise((char *)start, PAGE_BYTES, MADV_DONTFORK);
    if (!strcmp(kind, "wipeonfork") && madvise((char *)start, PAGE_BYTES, MADV_WIPEONFORK) < 0)
        unavailable("the kernel has no MADV_WIPEONFORK");
}

static inline void build_vmas(const char *kind, long count)
{   // a hole after each, so that the kernel can merge none
    one_of("kind", kind, vma_kinds);
    if (!count)
        return;
    need_memory((double)count * PAGE_BYTES * 2);
    int fd = strncmp(kind, "file_", 5) ? -1 : temporary_file(count);
    long before = map_count();
    char *start = map_aligned((size_t)count * 2 * PAGE_BYTES, HUGE_BYTES, MAP_NORESERVE);
    munmap(start, (size_t)count * 2 * PAGE_BYTES);
    for (long i = 0; i < count; i++)
        build_vma(kind, start + i * 2 * PAGE_BYTES, fd, i * PAGE_BYTES);
    if (fd >= 0)
        close(fd);
    if (map_count() < before + count)
        die("the kernel merged vmas: %ld of %ld", map_count() - before, count);
}

static inline void build_fds(long high, long open_fds, bool cloexec)
{
    long most = (high > open_fds ? high : open_fds) + 16;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if ((long)limit.rlim_cur < most) {
        limit.rlim_cur = (rlim_t)most;
        limit.rlim_max = limit.rlim_max < (rlim_t)most ? (rlim_t)most : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            unavailable("the limit of open files is too low");
    }
    int flags = O_RDONLY | (cloexec ? O_CLOEXEC : 0);
    for (long i = 0; i < open_fds; i++)
        if (open("/dev/null", flags) < 0)
            die("/dev/null, descriptor %ld: %s", i, strerror(errno));
    if (high) {
        int fd = open("/dev/null", flags);
        if (fd < 0 || dup3(fd, (int)high, cloexec ? O_CLOEXEC : 0) < 0)
            die("descriptor %ld: %s", high, strerror(errno));
        close(fd);
    }
}

static volatile long threads_up;
static volatile bool threads_stop;

static inline void *sleeping_thread(void *unused)
{
    __atomic_add_fetch(&threads_up, 1, __ATOMIC_SEQ_CST);
    for (;;)
        pause();
    return unused;
}

static inline void *running_thread(void *unused)
{
    __atomic_add_fetch(&threads_up, 1, __ATOMIC_SEQ_CST);
    while (!threads_stop) {}
    return unused;
}

static inline void start_thread(void *(*body)(void *), const cpu_set_t *cpus)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    if (cpus)
        pthread_attr_setaffinity_np(&attributes, sizeof *cpus, cpus);
    int error = pthread_create(&thread, &attributes, body, NULL);
    if (error)
        die("thread: %s", strerror(error));
    pthread_attr_destroy(&attributes);
}

static inline void start_one_a_cpu(void *(*body)(void *), long threads)
{   // each on a CPU of its own, none on the caller's, which is kept there; returns when all have said that they are up
    long online = sysconf(_SC_NPROCESSORS_ONLN), started = 0;
    int mine = raw_cpu();
    pin_to(0, mine);
    for (int cpu = 0; cpu < online && cpu < CPU_SETSIZE && started < threads; cpu++) {
        cpu_set_t one;
        if (cpu == mine)
            continue;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        start_thread(body, &one);
        started++;
    }
    if (started < threads)
        unavailable("fewer other cpus than running threads");
    while (threads_up < threads)
        sleep_ns(100000);
}

static inline void build_threads(long sleeping, long running)
{   // running threads stay off the caller's CPU: each is one more CPU that fork's flush must interrupt
    cpu_set_t others;
    CPU_ZERO(&others);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int mine = raw_cpu();
    for (int cpu = 0; cpu < online && cpu < CPU_SETSIZE; cpu++)
        if (cpu != mine)
            CPU_SET(cpu, &others);
    if (running > CPU_COUNT(&others))
        unavailable("fewer other cpus than running threads");
    if (running && pinned_cpu() < 0)
        pin_to(0, mine);
    for (long i = 0; i < sleeping; i++)
        start_thread(sleeping_thread, NULL);
    for (long i = 0; i < running; i++)
        start_thread(running_thread, &others);
    while (threads_up < sleeping + running)
        sleep_ns(100000);
    if (sleeping)
        sleep_ns(2000000); // the last one is up but may not sleep yet
}

static inline long hog_start(long mib)
{   // another process eats the fragmented free lists, so that what is left comes in order; bounded to a quarter
    int ready[2];
    char byte;
    long most = proc_number("/proc/meminfo", "MemAvailable:") / 4 >> 20;
    mib = mib > most ? most : mib;
    if (mib <= 0)
        return 0;
    if (pipe2(ready, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        leave_no_orphan(timeout_s);
        write_each(map_4k((size_t)mib << 20, 0), (size_t)mib << 8, PAGE_BYTES, false);
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        die("the process that holds %ld MiB ended", mib);
    close(ready[0]);
    return mib;
}
#endif
