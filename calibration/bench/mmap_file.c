// Mapping one page of a file privately and unmapping it, untouched: what each segment of a library costs before faults.
#include "value.h"
#include "parent.h"

static void pair(int fd)
{
    void *start = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
    if (start == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    munmap(start, PAGE_BYTES);
}

int main(int argc, char **argv)
{
    bench_start("mmap_file", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 2000, 1, 10000000);
    options_end();
    int fd = temporary_file(1);
    VALUE_LOOP(n, reps, pair(fd));
    return 0;
}
