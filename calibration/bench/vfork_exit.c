// vfork and a child that ends at once: nothing of the parent's memory is copied, however large.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("vfork_exit", argc, argv);
    struct spawn s = spawn_options("vfork");
    long pages = option_long("pages", 0, 0, 1L << 28), high = option_long("high", 0, 0, 1L << 20);
    options_end();
    spawn_prepare(&s);
    build_fds(high, 0, false);
    build_touched(pages, false);
    spawn_run(&s);
    return 0;
}
