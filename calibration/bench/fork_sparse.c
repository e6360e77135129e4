// fork costs per page table, whatever it holds: one touched page in each 2 MiB, or in each GiB (a pmd table more).
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_sparse", argc, argv);
    struct spawn s = spawn_options("fork");
    long tables = option_long("tables", 0, 0, 1L << 18), gib = option_long("gib", 0, 0, 4096);
    options_end();
    spawn_prepare(&s);
    build_sparse(tables, HUGE_BYTES);
    build_sparse(gib, GIB_BYTES);
    spawn_run(&s);
    return 0;
}
