// What all benches share: options, pinning, clock, bounds, JSON.
// A bench asks for each option once (that records it in the header), calls options_end(), builds its state,
// and prints a header line, then one line a repetition, all of them after the last repetition.
#ifndef HARNESS_H
#define HARNESS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
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

#include "now.h"

#define PAGE_BYTES 4096L
#define HUGE_BYTES (2L << 20)
#define GIB_BYTES (1L << 30)
#define MAX_REPS 2000
#define WARMUPS 2

static const char *bench_name;
static char args_json[2048], extra_json[1024];
static char stdout_buffer[4096];
static bool hold_wanted;
static const char *region_start; // the big region whose frames the header describes
static size_t region_bytes;

static inline int raw_cpu(void)
{   // not sched_getcpu(): it reads the rseq area, which a CLONE_VM child shares with its parent
    unsigned cpu = 0;
    syscall(SYS_getcpu, &cpu, NULL, NULL);
    return (int)cpu;
}

static inline void spin_ns(int64_t ns)
{
    for (int64_t end = now_ns() + ns; now_ns() < end;) {}
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "bench %s: ", bench_name);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(2);
}

__attribute__((format(printf, 3, 4))) static inline void append(char *to, size_t size, const char *format, ...)
{
    va_list list;
    size_t used = strlen(to);
    va_start(list, format);
    if ((size_t)vsnprintf(to + used, size - used, format, list) >= size - used)
        die("header too long");
    va_end(list);
}
#define header_add(...) append(extra_json, sizeof extra_json, __VA_ARGS__)

static inline void json_string(char *to, size_t size, const char *text)
{
    append(to, size, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            append(to, size, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            append(to, size, "\\u%04x", (unsigned char)*text);
        else
            append(to, size, "%c", *text);
    }
    append(to, size, "\"");
}

#include "options.h"

static inline void pin_to(pid_t task, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(task, sizeof set, &set) < 0)
        die("cannot pin to cpu %d: %s", cpu, strerror(errno));
}

static inline int pinned_cpu(void)
{   // -1 unless the task may run on one CPU only
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) != 1)
        return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            return cpu;
    return -1;
}

static inline void leave_no_orphan(long timeout_s)
{   // both are lost in a fork child, so a bench that measures in a descendant calls this again
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm((unsigned)timeout_s);
}

static long timeout_s;

static inline void bench_start(const char *name, int argc, char **argv)
{
    bench_name = name;
    option_count = argc;
    option_words = argv;
    setvbuf(stdout, stdout_buffer, _IOFBF, sizeof stdout_buffer);
    if (argc > (int)sizeof option_used)
        die("too many arguments");
    signal(SIGPIPE, SIG_DFL);
    hold_wanted = option_find("hold") != 0;
    const char *cpu = option_word("pin");
    if (cpu && strcmp(cpu, "none")) {
        char *end;
        long number = strtol(cpu, &end, 10);
        if (*end || end == cpu || number < 0 || number >= CPU_SETSIZE)
            die("--pin %s is neither a cpu nor 'none'", cpu);
        pin_to(0, (int)number);
    }
    const char *limit = option_word("timeout-s");
    timeout_s = limit ? atol(limit) : 120;
    leave_no_orphan(timeout_s);
}

static inline long proc_number(const char *path, const char *key)
{   // the first "key: number kB" of a /proc file in bytes, -1 if there is none; allocates nothing
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = 0, more;
    if (fd < 0)
        return -1;
    while (got < (ssize_t)sizeof text - 1 && (more = read(fd, text + got, sizeof text - 1 - (size_t)got)) > 0)
        got += more;
    close(fd);
    text[got > 0 ? got : 0] = 0;
    char *at = strstr(text, key);
    return at ? atol(at + strlen(key)) * 1024 : -1;
}

static inline void need_memory(double bytes)
{
    double free_bytes = (double)proc_number("/proc/meminfo", "MemAvailable:");
    if (free_bytes > 0 && bytes > free_bytes / 3)
        die("needs %.0f MiB, more than a third of the %.0f MiB available", bytes / 1048576, free_bytes / 1048576);
}

static inline long map_count(void)
{
    static char text[4096];
    long lines = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (got = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    if (fd >= 0)
        close(fd);
    return lines;
}

static inline double contiguous_fraction(void)
{   // of neighbouring present ptes of the region, how many have neighbouring frames; < 0 if frames are hidden
    static uint64_t entry[256];
    long pairs = 0, neighbours = 0;
    uint64_t before = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (size_t page = 0; fd >= 0 && page < region_bytes / PAGE_BYTES; page += 256) {
        off_t at = (off_t)(((uintptr_t)region_start / PAGE_BYTES + page) * 8);
        ssize_t got = pread(fd, entry, sizeof entry, at);
        for (ssize_t i = 0; i < got / 8 && page + (size_t)i < region_bytes / PAGE_BYTES; i++) {
            uint64_t frame = entry[i] >> 63 ? entry[i] & ((1ULL << 55) - 1) : 0;
            pairs += frame && before;
            neighbours += frame && before && (frame == before + 1 || before == frame + 1);
            before = frame;
        }
    }
    if (fd >= 0)
        close(fd);
    return pairs ? (double)neighbours / (double)pairs : -1;
}

static inline void print_header(const char *reason)
{
    double contiguous = region_start && !reason ? contiguous_fraction() : -1;
    printf("{\"bench\":\"%s\",\"args\":{%s},\"pid\":%d,", bench_name, args_json, (int)getpid());
    if (contiguous >= 0)
        printf("\"contiguous\":%.4f,", contiguous);
    else
        printf("\"contiguous\":null,");
    printf("\"thp_bytes_actual\":%ld,", proc_number("/proc/self/smaps_rollup", "AnonHugePages:"));
    if (pinned_cpu() >= 0)
        printf("\"cpu_pinned\":%d,", pinned_cpu());
    else
        printf("\"cpu_pinned\":null,");
    printf("\"vmas\":%ld", map_count());
    if (*extra_json)
        printf(",%s", extra_json);
    if (reason)
        printf(",\"unavailable\":\"%s\"", reason);
    printf("}\n");
    fflush(stdout);
}

__attribute__((noreturn)) static inline void unavailable(const char *reason)
{
    print_header(reason);
    exit(0);
}

static inline void hold_if_wanted(void)
{   // so that whoever started the bench can look at it in /proc; ends when its stdin does
    char byte;
    if (!hold_wanted)
        return;
    while (read(0, &byte, 1) > 0) {}
    exit(0);
}
#endif
