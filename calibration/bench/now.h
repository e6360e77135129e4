// The clock that every measured time is read from, and a sleep that a signal does not shorten.
#ifndef NOW_H
#define NOW_H
#include <errno.h>
#include <stdint.h>
#include <time.h>

static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void sleep_ns(int64_t ns)
{
    struct timespec t = {ns / 1000000000LL, ns % 1000000000LL};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) {}
}
#endif
