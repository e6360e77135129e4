// What a process holds of memory, shared pages in proportion: what parent and child hold adds up.
#ifndef PSS_H
#define PSS_H

#include <stdio.h>
#include <sys/types.h>

// In pages; -1 where it cannot be read.
static inline double pss_pages(pid_t pid)
{
    char path[64], line[256];
    double kib = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Pss: %lf", &kib) == 1)
            break;
    fclose(file);
    return kib < 0 ? -1 : kib / 4;
}
#endif
