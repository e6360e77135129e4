// One byte written to a pipe and read back by the same process: two system calls with work, no wake-up.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("pipe_rw", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 5000, 1, 100000000);
    int ends[2];
    char byte = 1;
    options_end();
    if (pipe(ends) < 0)
        die("pipe: %s", strerror(errno));
    VALUE_LOOP(n, reps, if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1) die("pipe"));
    return 0;
}
