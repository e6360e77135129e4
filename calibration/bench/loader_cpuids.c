// How many CPUID instructions a program executes before its entry (the loader) and until its end, by single steps.
#include "harness.h"
#include <elf.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#define MOST_STEPS 2000000L

#if defined(__x86_64__)
static unsigned long entry_of(pid_t pid)
{
    char path[64];
    Elf64_auxv_t pair;
    unsigned long entry = 0;
    snprintf(path, sizeof path, "/proc/%d/auxv", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read(fd, &pair, sizeof pair) == sizeof pair)
        if (pair.a_type == AT_ENTRY)
            entry = pair.a_un.a_val;
    if (fd >= 0)
        close(fd);
    return entry;
}

static pid_t start_traced(const char *path)
{
    char *words[] = {(char *)path, NULL}, *none[] = {NULL};
    int status;
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        leave_no_orphan(timeout_s);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(255);
        execve(path, words, none);
        _exit(255);
    }
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid: %s", strerror(errno));
    if (WIFEXITED(status))
        unavailable("the target cannot be traced or started");
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
    return pid;
}

static void count(pid_t pid)
{
    unsigned long entry = entry_of(pid);
    long cpuids = 0, steps = 0, cpuids_at_entry = -1, steps_at_entry = -1;
    int status = 0;
    while (steps < MOST_STEPS) {
        unsigned long at = (unsigned long)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), NULL);
        if (at == entry && cpuids_at_entry < 0) {
            cpuids_at_entry = cpuids;
            steps_at_entry = steps;
        }
        errno = 0;
        long code = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
        cpuids += errno == 0 && (code & 0xffff) == 0xa20f; // 0f a2
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) != pid)
            die("step: %s", strerror(errno));
        steps++;
        if (WIFEXITED(status) || WIFSIGNALED(status))
            break;
    }
    if (steps == MOST_STEPS)
        kill(pid, SIGKILL);
    printf("{\"cpuids\":%ld,\"steps\":%ld,\"cpuids_total\":%ld,\"steps_total\":%ld,\"complete\":%s}\n", cpuids_at_entry,
           steps_at_entry, cpuids, steps, steps < MOST_STEPS ? "true" : "false");
}
#endif

int main(int argc, char **argv)
{
    bench_start("loader_cpuids", argc, argv);
    option_text("target", "dynamic");
    const char *path = option_text("target-path", NULL);
    option_long("reps", 1, 1, 1); // a count does not vary
    options_end();
    if (!path)
        die("--target-path is missing");
#if defined(__x86_64__)
    pid_t pid = start_traced(path);
    print_header(NULL);
    count(pid);
    return 0;
#else
    unavailable("single steps are read on x86-64 only");
#endif
}
