// posix_spawn of the smallest program there is: glibc's work around vfork (child stack, signal masks).
#include "exec.h"

int main(int argc, char **argv)
{
    bench_start("posix_spawn_exit", argc, argv);
    struct spawn s = exec_options("posix_spawn", "tiny_static");
    spawn_run(&s);
    return 0;
}
