// Starts a program that ends at its entry, and its twin that tells when it got there, in turn; a line a repetition:
// exec_ns: from execve to the twin's _start; main_ns: from vfork to there; reaped_ns: of the other, until waitpid returns.
#include "spawn.h"

#define MAX_EVICTED 4096
static volatile int64_t exec_at_ns; // the vfork child writes it into the caller's memory
static char *evicted[MAX_EVICTED];
static long evicted_count;

static void read_evicted(const char *list)
{
    static char line[4096];
    FILE *file = fopen(list, "r");
    if (!file)
        die("%s: %s", list, strerror(errno));
    while (evicted_count < MAX_EVICTED && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        evicted[evicted_count++] = strdup(line);
    }
    fclose(file);
}

static void evict(void)
{
    for (long i = 0; i < evicted_count; i++) {
        int fd = open(evicted[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
            die("%s: %s", evicted[i], strerror(errno));
        close(fd);
    }
}

__attribute__((noinline)) static pid_t start(const char *path, char **argv, char **envp)
{
    pid_t pid = vfork();
    if (pid == 0) {
        exec_at_ns = now_ns();
        execve(path, argv, envp);
        _exit(255);
    }
    return pid;
}

static int64_t start_and_reap(const char *path, char **envp, int64_t *began)
{
    char *argv[] = {(char *)path, NULL};
    int status;
    evict();
    *began = now_ns();
    pid_t pid = start(path, argv, envp);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die("spawn: %s", strerror(errno));
    int64_t reaped = now_ns();
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        die("%s failed (wait status %d)", path, status);
    return reaped - *began;
}

static long major_faults(void)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return used.ru_majflt;
}

int main(int argc, char **argv)
{
    static struct { int64_t exec_ns, main_ns, reaped_ns; long majflt; } rows[MAX_REPS + WARMUPS];
    static char *plain[] = {NULL}, *bound[] = {"LD_BIND_NOW=1", NULL};
    bench_start("exec_loop", argc, argv);
    const char *stopped = option_text("stopped", NULL), *stamped = option_text("stamped", NULL);
    const char *list = option_text("evict", NULL);
    char **envp = option_flag("bind-now") ? bound : plain;
    struct spawn s = {.mech = "vfork", .path = stopped, .stamped = true, .reps = option_long("reps", 20, 1, MAX_REPS)};
    options_end();
    if (!stopped || !stamped)
        die("--stopped and --stamped are paths of programs");
    if (list)
        read_evicted(list);
    spawn_prepare(&s);
    memset(rows, 0, sizeof rows);
    print_header(NULL);
    hold_if_wanted();
    for (long i = 0; i < s.reps + WARMUPS; i++) {
        struct stamp stamp;
        int64_t began;
        long before = major_faults();
        rows[i].reaped_ns = start_and_reap(stopped, envp, &began);
        rows[i].majflt = major_faults() - before;
        start_and_reap(stamped, envp, &began);
        if (read(stamp_pipe, &stamp, sizeof stamp) != sizeof stamp)
            die("%s left no stamp", stamped);
        rows[i].exec_ns = stamp.ns - exec_at_ns;
        rows[i].main_ns = stamp.ns - began;
    }
    for (long i = WARMUPS; i < s.reps + WARMUPS; i++)
        printf("{\"rep\":%ld,\"exec_ns\":%lld,\"main_ns\":%lld,\"reaped_ns\":%lld,\"majflt\":%ld}\n", i - WARMUPS,
               (long long)rows[i].exec_ns, (long long)rows[i].main_ns, (long long)rows[i].reaped_ns, rows[i].majflt);
    return 0;
}
