// Opening a file, fstat, a read that finds nothing, closing: the loader's calls for each library.
#include "value.h"

int main(int argc, char **argv)
{
    bench_start("open_close", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 3000, 1, 100000000);
    char byte;
    struct stat facts;
    options_end();
    VALUE_LOOP(n, reps, int fd = open("/dev/null", O_RDONLY | O_CLOEXEC); fstat(fd, &facts);
               if (read(fd, &byte, 1) != 0) die("read"); close(fd));
    return 0;
}
