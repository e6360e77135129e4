// CPUID: under a hypervisor each one is an exit to the host, and the loader executes some dozens.
#include "value.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

int main(int argc, char **argv)
{
    bench_start("cpuid", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 100, 1, 10000000);
    long leaf = option_long("leaf", 0, 0, 0x7fffffff);
    options_end();
#if defined(__x86_64__)
    volatile unsigned a, b, c, d;
    VALUE_LOOP(n, reps, unsigned w = 0; unsigned x = 0; unsigned y = 0; unsigned z = 0;
               __cpuid_count((unsigned)leaf, 0, w, x, y, z); a = w; b = x; c = y; d = z);
    (void)(a + b + c + d);
#else
    (void)reps, (void)n, (void)leaf;
    unavailable("this architecture has no CPUID");
#endif
    return 0;
}
