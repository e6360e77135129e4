// clone(CLONE_VM) and a child that ends at once: vfork's child without the caller's wait.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("clone_vm_exit", argc, argv);
    struct spawn s = spawn_options("clone_vm");
    long pages = option_long("pages", 0, 0, 1L << 28), high = option_long("high", 0, 0, 1L << 20);
    options_end();
    spawn_prepare(&s);
    build_fds(high, 0, false);
    build_touched(pages, false);
    spawn_run(&s);
    return 0;
}
