// How long a spawn takes in a parent of a given size: spawn_time MIB VMAS THP MECHANISM TARGET REPS REWRITE.
// One line a repetition for each figure: call_us until the call returns in the caller, reaped_us until its wait does.
// REWRITE 1: between two spawns each page is written, as before the first.
#include "figures.h"
#include <spawn.h>

#define MIB (1L << 20)
#define PAGE 4096L

// Between vmas lies a hole, so that neighbours do not merge into one; with huge pages each begins at a multiple of 2 MiB.
static char *fill(long bytes, long vmas, bool thp)
{
    long unit = thp ? 2 * MIB : PAGE, each = (bytes / vmas + PAGE - 1) / PAGE * PAGE;
    long stride = (each + unit - 1) / unit * unit + (vmas > 1 ? unit : 0), whole = vmas * stride + 2 * MIB;
    char *base = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    munmap(base, whole);
    base = (char *)(((uintptr_t)base + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
    for (long i = 0; i < vmas; i++) {
        char *vma = base + i * stride;
        if (mmap(vma, each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            die("mmap: %s", strerror(errno));
        madvise(vma, each, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        for (long at = 0; at < each; at += PAGE)
            vma[at] = 1;
    }
    return base;
}

static pid_t spawn(const char *mechanism, const char *target)
{
    char *argv[] = {(char *)target, NULL};
    bool none = strcmp(target, "none") == 0;
    pid_t pid = -1;
    if (strcmp(mechanism, "posix_spawn") == 0) {
        if ((errno = posix_spawn(&pid, target, NULL, NULL, argv, environ)) != 0)
            die("posix_spawn: %s", strerror(errno));
        return pid;
    }
    pid = strcmp(mechanism, "vfork") == 0 ? vfork() : fork();
    if (pid == 0) {
        if (!none)
            execve(target, argv, environ);
        _exit(none ? 0 : 127);
    }
    if (pid < 0)
        die("%s: %s", mechanism, strerror(errno));
    return pid;
}

int main(int argc, char **argv)
{
    if (argc != 8 || (atoi(argv[7]) != 0 && atol(argv[2]) != 1))
        die("usage: spawn_time MIB VMAS THP MECHANISM TARGET REPS REWRITE (of one vma)");
    long bytes = atol(argv[1]) * MIB;
    char *base = fill(bytes, atol(argv[2]), atoi(argv[3]) != 0);
    for (long rep = atol(argv[6]); rep > 0; rep--) {
        for (long at = 0; at < bytes && atoi(argv[7]) != 0; at += PAGE)
            base[at]++;
        double from = now_us();
        pid_t pid = spawn(argv[4], argv[5]);
        double called = now_us();
        if (exit_status(pid) != 0)
            die("the child failed");
        double reaped = now_us();
        put("call_us", called - from);
        put("reaped_us", reaped - from);
    }
    return 0;
}
