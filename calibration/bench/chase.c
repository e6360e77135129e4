// Following pointers in random order, one a cache line: the latency of a memory reference by the size of the set.
#include "region.h"

int main(int argc, char **argv)
{
    bench_start("chase", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), kib = option_long("kib", 1024, 16, 1L << 24);
    long n = option_long("n", 20000, 1, 100000000);
    options_end();
    size_t lines = (size_t)kib << 4;
    need_memory((double)kib * 1024);
    char *start = map_4k((size_t)kib << 10, 0);
    for (size_t i = 0; i < lines; i++) { // one cycle through all lines
        size_t here = permuted(i, lines), next = permuted((i + 1) % lines, lines);
        *(void **)(start + here * 64) = start + next * 64;
    }
    void *volatile *at = (void *volatile *)start;
    VALUE_LOOP(n, reps, at = (void *volatile *)*at);
    return at == NULL;
}
