// mprotect that splits a vma into three and one that merges them again: the loader's RELRO.
#include "value.h"
#include "parent.h"

static void split_and_merge(char *middle)
{
    if (mprotect(middle, PAGE_BYTES, PROT_READ) < 0 || mprotect(middle, PAGE_BYTES, PROT_READ | PROT_WRITE) < 0)
        die("mprotect: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    bench_start("mprotect", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 2000, 1, 10000000);
    options_end();
    char *start = map_4k(3 * PAGE_BYTES, 0);
    write_each(start, 3, PAGE_BYTES, false);
    VALUE_LOOP(n, reps, split_and_merge(start + PAGE_BYTES));
    return 0;
}
