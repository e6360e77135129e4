// Blocking all signals and restoring the mask, as posix_spawn does.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("sigprocmask", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 10000, 1, 100000000);
    sigset_t all, before;
    options_end();
    sigfillset(&all);
    VALUE_LOOP(n, reps, sigprocmask(SIG_BLOCK, &all, &before); sigprocmask(SIG_SETMASK, &before, NULL));
    return 0;
}
