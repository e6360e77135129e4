// Mapping and unmapping an anonymous region (posix_spawn's child stack), of which some pages are written in between.
#include "value.h"

static void pair(size_t bytes, long touched)
{
    volatile char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    for (long i = 0; i < touched; i++)
        start[i * PAGE_BYTES] = 1;
    munmap((char *)start, bytes);
}

int main(int argc, char **argv)
{
    bench_start("mmap_munmap", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 2000, 1, 10000000);
    long kib = option_long("kib", 36, 4, 1 << 20), touched = option_long("touched", 0, 0, 1 << 18);
    options_end();
    if (touched * 4 > kib)
        die("--touched %ld pages do not fit into %ld KiB", touched, kib);
    VALUE_LOOP(n, reps, pair((size_t)kib << 10, touched));
    return 0;
}
