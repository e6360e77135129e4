// fork costs per 2 MiB page mapped by a pmd: its deposited page table, not its 512 pages.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_thp", argc, argv);
    struct spawn s = spawn_options("fork");
    long huge = option_long("huge", 0, 0, 1L << 17);
    options_end();
    spawn_prepare(&s);
    build_thp(huge);
    spawn_run(&s);
    return 0;
}
