// What every program of the claims shares: a figure a line on standard output, `NAME VALUE`; `unavailable NAME WHY` where
// this machine does not let it be measured.
#ifndef FIGURES_H
#define FIGURES_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static inline void put(const char *name, double value)
{
    printf("%s %.10g\n", name, value);
    fflush(stdout);
}

static inline void unavailable(const char *name, const char *why)
{
    printf("unavailable %s %s\n", name, why);
    fflush(stdout);
}

static inline void die(const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    vfprintf(stderr, format, rest);
    fputc('\n', stderr);
    _exit(1);
}

#define TEMPORARY 4096 // long enough for its path

// A new file in the folder of temporary files; the caller unlinks it.
static inline int temporary(char path[TEMPORARY])
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, TEMPORARY, "%s/spawncost-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    return fd;
}

static inline double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static inline void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        ;
}

static inline void *shared_page(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    return page;
}

static inline int exit_status(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, __WALL) < 0)
        die("waitpid: %s", strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline long minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

// A field of a file such as /proc/self/smaps_rollup, in kB; -1 where there is none.
static inline long field_kb(const char *path, const char *name)
{
    char line[512];
    long value = -1;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = strtol(line + strlen(name) + 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return value;
}
#endif
