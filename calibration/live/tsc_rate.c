// How many ticks of the time stamp counter, in which ld.so times itself, pass in a second.
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(void)
{
    const double begin_s = now_s();
    const unsigned long long begin = __rdtsc();
    double end_s = begin_s;
    while (end_s - begin_s < 0.05)
        end_s = now_s();
    printf("%.0f\n", (double)(__rdtsc() - begin) / (end_s - begin_s));
    return 0;
}
