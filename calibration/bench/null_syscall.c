// The price of entering and leaving the kernel.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("null_syscall", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 20000, 1, 100000000);
    options_end();
    VALUE_LOOP(n, reps, syscall(SYS_getppid));
    return 0;
}
