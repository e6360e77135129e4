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
    if (!threads)
        return;
    need_memory((double)threads * 2 * (double)(mib << 20));
    beside_bytes = mib << 20;
    beside_copies = copies;
    start_one_a_cpu(streaming_thread, threads);
}
#endif
