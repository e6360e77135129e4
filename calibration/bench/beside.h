// Threads on other CPUs that clear or copy memory larger than the caches all the time, each its own: they share the
// memory bus with the caller.
#ifndef BESIDE_H
#define BESIDE_H

static long beside_bytes;
static bool beside_copies;

static inline void *streaming_thread(void *unused)
{
    size_t half = (size_t)beside_bytes;
    char *to = map_4k(half, 0), *from = map_4k(half, 0);
    write_each(to, half / PAGE_BYTES, PAGE_BYTES, false);
    write_each(from, half / PAGE_BYTES, PAGE_BYTES, false);
    __atomic_add_fetch(&threads_up, 1, __ATOMIC_SEQ_CST);
    for (size_t at = 0;; at = (at + PAGE_BYTES) % half) {
        if (beside_copies)
            memcpy(to + at, from + at, PAGE_BYTES);
        else
            memset(to + at, 0, PAGE_BYTES);
        __asm__ volatile("" ::: "memory");
    }
    return unused;
}

static inline void start_beside(long threads, long mib, bool copies)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN), started = 0;
    int mine = raw_cpu();
    if (!threads)
        return;
    need_memory((double)threads * 2 * (double)(mib << 20));
    beside_bytes = mib << 20;
    beside_copies = copies;
    pin_to(0, mine);
    for (int cpu = 0; cpu < online && cpu < CPU_SETSIZE && started < threads; cpu++) {
        cpu_set_t one;
        if (cpu == mine)
            continue;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        start_thread(streaming_thread, &one);
        started++;
    }
    if (started < threads)
        unavailable("fewer other cpus than threads beside");
    while (threads_up < threads)
        sleep_ns(100000);
}
#endif
