// openat of a path that does not exist (a negative dentry): what a loader's search pays for each wrong directory.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("open_enoent", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 2000, 1, 10000000);
    options_end();
    VALUE_LOOP(n, reps, (void)!open("/usr/lib/spawncost-no-such-file.so.6", O_RDONLY | O_CLOEXEC));
    return 0;
}
