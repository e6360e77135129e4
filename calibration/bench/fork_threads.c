// fork costs per sleeping thread (its vmas; with glibc's fork() the child's walk over the stacks, too),
// and per thread that runs elsewhere (its CPU must be interrupted).
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_threads", argc, argv);
    struct spawn s = spawn_options("fork");
    long threads = option_long("threads", 0, 0, 20000), running = option_long("running", 0, 0, 512);
    options_end();
    spawn_prepare(&s);
    build_threads(threads, running);
    spawn_run(&s);
    return 0;
}
