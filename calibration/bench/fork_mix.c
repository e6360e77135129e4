// A parent of everything at once: what the fit has not seen and must predict.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_mix", argc, argv);
    struct spawn s = spawn_options("fork");
    long pages = option_long("pages", 0, 0, 1L << 28), tables = option_long("tables", 0, 0, 1L << 18);
    long huge = option_long("huge", 0, 0, 1L << 17), high = option_long("high", 0, 0, 1L << 20);
    long open_fds = option_long("open", 0, 0, 1L << 20), threads = option_long("threads", 0, 0, 20000);
    const char *order = option_text("order", "seq");
    long empty = option_long("anon-empty", 0, 0, 20000), filled = option_long("anon-page", 0, 0, 20000);
    long clean = option_long("file-clean", 0, 0, 20000), dirty = option_long("file-dirty", 0, 0, 20000);
    options_end();
    one_of("order", order, "seq random");
    spawn_prepare(&s);
    build_fds(high, open_fds, false);
    build_vmas("anon_empty", empty);
    build_vmas("anon_page", filled);
    build_vmas("file_clean", clean);
    build_vmas("file_dirty", dirty);
    build_sparse(tables, HUGE_BYTES);
    build_thp(huge);
    build_touched(pages, !strcmp(order, "random"));
    build_threads(threads, 0);
    spawn_run(&s);
    return 0;
}
