// fork costs per slot of the fd table up to the highest open one, and per open file.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_fds", argc, argv);
    struct spawn s = spawn_options("fork");
    long high = option_long("high", 0, 0, 1L << 20), open_fds = option_long("open", 0, 0, 1L << 20);
    bool cloexec = option_flag("cloexec");
    options_end();
    spawn_prepare(&s);
    build_fds(high, open_fds, cloexec);
    spawn_run(&s);
    return 0;
}
