// A parent that forks while one of its threads calls, GAP_NS apart, what needs a lock that fork holds: the longest call.
// Back to back the thread would win the lock again and again, and fork sleep until it is handed over, 4 ms later.
// Each stays on a CPU of its own where there are two: a thread that has none does not wait for a lock, but for its turn.
// One JSON line "ready", then one line a round; options as NAME=NUMBER. call: 0 mmap, 1 munmap, 2 brk, 3 a read of
// /proc/self/maps, 4 malloc.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "now.h"

enum { PAGE = 4096, HUGE_BYTES = 2 << 20, BEYOND_CACHE = 4000, STILL_NS = 30000000, GAP_NS = 50000 };

static long pages = 65536, call = 0, rounds = 5;
static atomic_llong longest_ns, calls, worked_ns;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static char *mapped(size_t bytes)
{
    char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        die("mmap");
    return start;
}

static char *written_page(void)
{
    char *page = mapped(PAGE);
    *(volatile char *)page = 1;
    return page;
}

// One call, and its time; what has to be undone is not counted. The page that munmap drops was made after the call
// before: made now, its own mmap would come upon the lock and wait, and munmap never.
static int64_t call_ns(int maps)
{
    static char text[1 << 16], *dropped;
    char *start = NULL;
    if (call == 1 && !dropped)
        dropped = written_page();
    int64_t from = now_ns(), took;
    switch (call) {
    case 0: start = mapped(PAGE); break;
    case 1: munmap(dropped, PAGE); break;
    case 2: (void)!sbrk(PAGE); break;
    case 3: lseek(maps, 0, SEEK_SET); (void)!read(maps, text, sizeof text); break;
    default: start = malloc(BEYOND_CACHE); *(volatile char *)start = 1;
    }
    took = now_ns() - from;
    if (call == 0)
        munmap(start, PAGE);
    if (call == 1)
        dropped = written_page();
    if (call == 2)
        (void)!sbrk(-PAGE);
    if (call == 4)
        free(start);
    return took;
}

// Keep this thread on the first or the last CPU that the process may use.
static void stay_on(bool last)
{
    cpu_set_t allowed, one;
    int chosen = -1;
    if (sched_getaffinity(0, sizeof allowed, &allowed))
        die("sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && (last || chosen < 0))
            chosen = cpu;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    if (sched_setaffinity(0, sizeof one, &one))
        die("sched_setaffinity");
}

static atomic_bool placed;

static void *caller(void *unused)
{
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (maps < 0)
        die("/proc/self/maps");
    stay_on(true);
    atomic_store(&placed, true);
    for (;;) {
        int64_t took = call_ns(maps);
        if (took > atomic_load(&longest_ns))
            atomic_store(&longest_ns, took);
        atomic_fetch_add(&worked_ns, took);
        atomic_fetch_add(&calls, 1);
        for (int64_t from = now_ns(); now_ns() - from < GAP_NS;)
            ;
    }
    return unused;
}

static void one_round(long number)
{
    sleep_ns(STILL_NS);
    long long calls_before = atomic_load(&calls), worked_before = atomic_load(&worked_ns);
    do // a thread that has no CPU has not called yet
        sleep_ns(STILL_NS);
    while (atomic_load(&calls) == calls_before);
    double idle_ns = (double)(atomic_load(&worked_ns) - worked_before) / (double)(atomic_load(&calls) - calls_before);
    atomic_store(&longest_ns, 0);
    calls_before = atomic_load(&calls);
    int64_t from = now_ns();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        _exit(0);
    int64_t called = now_ns();
    if (waitpid(pid, NULL, 0) != pid)
        die("waitpid");
    do
        sleep_ns(STILL_NS);
    while (atomic_load(&calls) == calls_before);
    printf("{\"round\":%ld,\"call_ns\":%lld,\"longest_ns\":%lld,\"idle_ns\":%.1f}\n", number, (long long)(called - from),
           (long long)atomic_load(&longest_ns), idle_ns);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct { const char *name; long *value; } known[] = {{"pages", &pages}, {"call", &call}, {"rounds", &rounds}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        for (; k < sizeof known / sizeof *known; k++)
            if (!strncmp(argv[i], known[k].name, strlen(known[k].name)) && argv[i][strlen(known[k].name)] == '=')
                break;
        if (k == sizeof known / sizeof *known) {
            fprintf(stderr, "no such option: %s\n", argv[i]);
            return 2;
        }
        *known[k].value = strtol(strchr(argv[i], '=') + 1, NULL, 10);
    }
    size_t bytes = (size_t)pages * PAGE + HUGE_BYTES;
    char *memory = mapped(bytes);
    madvise(memory, bytes, MADV_NOHUGEPAGE); // EINVAL: a kernel without huge pages
    for (long page = 0; page < pages; page++)
        memory[page * PAGE] = 1;
    pthread_t thread;
    if ((errno = pthread_create(&thread, NULL, caller, NULL)))
        die("pthread_create");
    while (!atomic_load(&placed))
        sleep_ns(STILL_NS);
    stay_on(false);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    char go[16];
    if (!fgets(go, sizeof go, stdin))
        return 1;
    for (long round = 0; round < rounds; round++)
        one_round(round);
    return 0;
}
