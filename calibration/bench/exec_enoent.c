// execve of a path that is not there: the look-up that ends before anything is prepared.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("exec_enoent", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 2000, 1, 1000000);
    char *words[] = {"missing", NULL}, *none[] = {NULL};
    options_end();
    VALUE_LOOP(n, reps, if (execve("/spawncost-no-such-file", words, none) != -1 || errno != ENOENT) die("exec"));
    return 0;
}
