// fork costs per page-cache pte of a private file mapping in which one page was written: then it is walked whole.
#include "spawn.h"

int main(int argc, char **argv)
{
    bench_start("fork_file_ptes", argc, argv);
    struct spawn s = spawn_options("fork");
    long pages = option_long("pages", 1024, 1, 1L << 20);
    options_end();
    spawn_prepare(&s);
    need_memory((double)pages * PAGE_BYTES * 2);
    int fd = temporary_file(pages);
    char *start = map_aligned((size_t)pages * PAGE_BYTES, HUGE_BYTES, MAP_NORESERVE);
    munmap(start, (size_t)pages * PAGE_BYTES);
    volatile char *file = vma_at(start, (size_t)pages * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    for (long i = 0; i < pages; i++)
        (void)file[i * PAGE_BYTES];
    file[0] = 1;
    close(fd);
    spawn_run(&s);
    return 0;
}
