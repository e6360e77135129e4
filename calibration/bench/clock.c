// What reading the clock costs: it is in every timed interval once.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("clock", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 50000, 1, 100000000);
    options_end();
    VALUE_LOOP(n, reps, now_ns());
    return 0;
}
