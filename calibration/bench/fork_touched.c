// fork costs per 4 KiB anonymous page: write-protected or still writable, frames in order or scattered.
#include "spawn.h"

static char *pages_start;
static long pages;

static void rewrite(void)
{
    write_each(pages_start, (size_t)pages, PAGE_BYTES, false);
}

int main(int argc, char **argv)
{
    bench_start("fork_touched", argc, argv);
    struct spawn s = spawn_options("fork");
    pages = option_long("pages", 0, 0, 1L << 28);
    const char *order = option_text("order", "seq");
    bool write_again = option_flag("rewrite"), first = option_flag("first");
    long hog_mib = option_long("hog-mib", 0, 0, 1L << 22);
    options_end();
    one_of("order", order, "seq random");
    if (first && s.reps > 1)
        die("--first gives one repetition a process: --reps 1");
    header_add("\"hog_mib_actual\":%ld", hog_start(hog_mib));
    spawn_prepare(&s);
    if (first)
        spawn_warm(&s);
    pages_start = build_touched(pages, !strcmp(order, "random"));
    s.before = write_again && pages ? rewrite : NULL;
    spawn_run(&s);
    return 0;
}
