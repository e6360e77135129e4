// fork costs per vma, by what the vma is.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_vmas", argc, argv);
    struct spawn s = spawn_options("fork");
    const char *kind = option_text("kind", "anon_empty");
    long vmas = option_long("vmas", 0, 0, 60000);
    options_end();
    spawn_prepare(&s);
    build_vmas(kind, vmas);
    spawn_run(&s);
    return 0;
}
