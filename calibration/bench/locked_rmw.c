// A locked read-modify-write of a line that this CPU holds, such as the clearing of a page flag.
#include "value.h"

int main(int argc, char **argv)
{
    static volatile long word;
    bench_start("locked_rmw", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 200000, 1, 10000000);
    options_end();
    VALUE_LOOP(n, reps, __atomic_fetch_and(&word, ~2L, __ATOMIC_SEQ_CST));
    return 0;
}
