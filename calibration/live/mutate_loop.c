// A parent whose threads write to its memory while it forks children that live for a while: counts what they meet.
// One JSON line "ready", then one line a round; options as NAME=NUMBER.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "now.h"
#include "pss.h"

enum { PAGE = 4096, HUGE_BYTES = 2 << 20, MAX_THREADS = 64 };
enum { TICK_NS = 1000000 };

static long pages = 16384, threads = 2, burst = 10, thp = 0, sequential = 0, life_ms = 0, after_ms = 200, rounds = 3;
static char *memory;
static size_t length;
static atomic_int running, parked;

// What one thread has done since its counters were last taken; written by it alone while it runs.
struct mutator {
    _Alignas(128) atomic_long writes, faults;
    atomic_llong waited_ns, longest_ns;
};
static struct mutator mutators[MAX_THREADS];

static void sleep_until(int64_t at)
{
    struct timespec t = {at / 1000000000LL, at % 1000000000LL};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static long faults_of(int who)
{
    struct rusage used;
    getrusage(who, &used);
    return used.ru_minflt;
}

// Writes in bursts, a burst a tick, and makes up for nothing: the next tick counts from the end of the burst.
static void *mutate(void *argument)
{
    struct mutator *self = argument;
    long index = self - mutators, share = pages / threads, at = 0;
    uint64_t state = 0x9e3779b97f4a7c15ull * (uint64_t)(index + 1);
    for (;;) {
        if (!atomic_load(&running)) {
            atomic_fetch_add(&parked, 1);
            while (!atomic_load(&running))
                sleep_until(now_ns() + 200000);
            atomic_fetch_sub(&parked, 1);
        }
        int64_t before = now_ns();
        for (long i = 0; i < burst; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            long page = sequential ? index * share + at++ % share : (long)((__uint128_t)state * (uint64_t)pages >> 64);
            *(volatile char *)(memory + page * PAGE) = (char)i;
            int64_t after = now_ns(), took = after - before;
            before = after;
            atomic_fetch_add_explicit(&self->waited_ns, took, memory_order_relaxed);
            if (took > atomic_load_explicit(&self->longest_ns, memory_order_relaxed))
                atomic_store_explicit(&self->longest_ns, took, memory_order_relaxed);
        }
        atomic_fetch_add_explicit(&self->writes, burst, memory_order_relaxed);
        atomic_store_explicit(&self->faults, faults_of(RUSAGE_THREAD), memory_order_relaxed);
        sleep_until(before + TICK_NS);
    }
    return NULL;
}

struct sum {
    int64_t at_ns, waited_ns, longest_ns;
    long writes, faults;
};

static struct sum summed(void)
{
    struct sum s = {.at_ns = now_ns()};
    for (long i = 0; i < threads; i++) {
        int64_t longest = atomic_load(&mutators[i].longest_ns);
        s.writes += atomic_load(&mutators[i].writes);
        s.faults += atomic_load(&mutators[i].faults);
        s.waited_ns += atomic_load(&mutators[i].waited_ns);
        s.longest_ns = longest > s.longest_ns ? longest : s.longest_ns;
    }
    return s;
}

static void forget_longest(void)
{
    for (long i = 0; i < threads; i++)
        atomic_store(&mutators[i].longest_ns, 0);
}

static void drop(void)
{
    munmap(memory, length);
    memory = NULL;
}

// Fresh memory, so that huge pages are whole again.
static void renew(void)
{
    length = (size_t)pages * PAGE;
    char *base = mmap(NULL, length + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        die("mmap");
    memory = (char *)(((uintptr_t)base + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
    size_t lead = (size_t)(memory - base);
    if (lead)
        munmap(base, lead);
    if (HUGE_BYTES - lead)
        munmap(memory + length, HUGE_BYTES - lead);
    if (mprotect(memory, length, PROT_READ | PROT_WRITE))
        die("mprotect");
    if (madvise(memory, length, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && thp)
        die("madvise");
    for (long page = 0; page < pages; page++)
        memory[page * PAGE] = 1;
}

static void pause_mutators(void)
{
    atomic_store(&running, 0);
    while (atomic_load(&parked) < threads)
        sleep_until(now_ns() + 100000);
}

static void one_round(long number)
{
    drop();
    renew();
    atomic_store(&running, 1);
    sleep_until(now_ns() + 50000000);
    struct sum idle = summed();
    sleep_until(now_ns() + 250000000);
    double held = pss_pages(getpid()), grown = -1;
    sleep_until(now_ns() + 20000000);
    struct sum before = summed();
    forget_longest();
    int64_t from = now_ns(), read_at = 0;
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (life_ms)
            sleep_until(now_ns() + life_ms * 1000000);
        _exit(0);
    }
    int64_t called = now_ns();
    if (life_ms > 100) {
        sleep_until(from + (life_ms - 100) * 1000000);
        int64_t begin = now_ns();
        double parent = pss_pages(getpid()), child = pss_pages(pid);
        read_at = (begin + now_ns()) / 2;
        grown = held < 0 || parent < 0 || child < 0 ? -1 : parent + child - held;
    }
    struct rusage used;
    if (wait4(pid, NULL, 0, &used) != pid)
        die("wait4");
    struct sum gone = summed();
    sleep_until(now_ns() + after_ms * 1000000);
    struct sum end = summed();
    pause_mutators();
    double idle_s = (double)(before.at_ns - idle.at_ns) / 1e9;
    printf("{\"round\":%ld,\"rate\":%.3f,\"idle_write_ns\":%.3f,\"idle_faults\":%ld,\"call_ns\":%lld,\"gone_ns\":%lld,"
           "\"gone_faults\":%ld,\"gone_writes\":%ld,\"gone_waited_ns\":%lld,\"end_ns\":%lld,\"end_faults\":%ld,"
           "\"end_writes\":%ld,\"end_waited_ns\":%lld,\"longest_ns\":%lld,\"child_faults\":%ld,\"read_ns\":%lld,"
           "\"grown_pages\":%.1f}\n",
           number, (double)(before.writes - idle.writes) / idle_s,
           (double)(before.waited_ns - idle.waited_ns) / (double)(before.writes - idle.writes),
           before.faults - idle.faults, (long long)(called - from), (long long)(gone.at_ns - from),
           gone.faults - before.faults, gone.writes - before.writes, (long long)(gone.waited_ns - before.waited_ns),
           (long long)(end.at_ns - from), end.faults - before.faults, end.writes - before.writes,
           (long long)(end.waited_ns - before.waited_ns), (long long)end.longest_ns, used.ru_minflt,
           (long long)(read_at ? read_at - from : 0), grown);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct { const char *name; long *value; } known[] = {
        {"pages", &pages}, {"threads", &threads}, {"burst", &burst}, {"thp", &thp}, {"sequential", &sequential},
        {"life_ms", &life_ms}, {"after_ms", &after_ms}, {"rounds", &rounds},
    };
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '='), *rest = NULL;
        bool found = false;
        for (size_t k = 0; equals && k < sizeof known / sizeof *known; k++)
            if (!strncmp(argv[i], known[k].name, (size_t)(equals - argv[i])) && !known[k].name[equals - argv[i]]) {
                *known[k].value = strtol(equals + 1, &rest, 10);
                found = rest && !*rest;
            }
        if (!found) {
            fprintf(stderr, "no such option: %s\n", argv[i]);
            return 2;
        }
    }
    if (threads < 1 || threads > MAX_THREADS || pages < threads || burst < 1)
        return 2;
    renew();
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if ((errno = pthread_create(&thread, NULL, mutate, &mutators[i])))
            die("pthread_create");
    }
    while (atomic_load(&parked) < threads)
        sleep_until(now_ns() + 100000);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    char go[16];
    if (!fgets(go, sizeof go, stdin))
        return 1;
    for (long round = 0; round < rounds; round++)
        one_round(round);
    return 0;
}
