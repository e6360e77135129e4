// exec of a generated program: its kind, its libraries, relocations and look-ups, its arguments and environment.
#include "exec.h"

int main(int argc, char **argv)
{
    bench_start("exec_target", argc, argv);
    struct spawn s = exec_options("vfork", "tiny_static");
    spawn_run(&s);
    return 0;
}
