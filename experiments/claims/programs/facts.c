// What a child inherits of signals, name and registers, how writes to one file mix, what /proc/self/exe leads to, whether
// a command substitution forks, and which functions this kernel has by name.
#include "figures.h"
#include <linux/close_range.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
enum { LINES = 2000, WIDTH = 200 };

static void pending_signals(void)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGUSR1);
    sigpending(&set);
    put("parent_has_pending_signal", sigismember(&set, SIGUSR1));
    pid_t pid = fork();
    if (pid == 0) {
        sigpending(&set);
        _exit(sigismember(&set, SIGUSR1));
    }
    put("child_has_pending_signal", exit_status(pid));
    signal(SIGUSR1, SIG_IGN);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static void copied(void)
{
    char name[16] = "";
    long *returned = shared_page();
    prctl(PR_SET_NAME, "shallow-copy");
    *returned = -1;
    pid_t pid = fork();
    if (pid == 0) {
        *returned = pid;
        prctl(PR_GET_NAME, name);
        _exit(strcmp(name, "shallow-copy") == 0);
    }
    put("child_bears_parents_name", exit_status(pid));
    put("child_was_returned", *returned);
    put("parent_was_returned_a_pid", pid > 0);
}

// Whole lines, of the parent's and the child's letter: how many are torn or lost, and how often the writer changes.
static void writes(void)
{
    char path[TEMPORARY], line[WIDTH];
    int fd = temporary(path), torn = 0, lines = 0, turns = 0;
    pid_t pid = fork();
    memset(line, pid == 0 ? 'c' : 'p', WIDTH - 1);
    line[WIDTH - 1] = '\n';
    for (int i = 0; i < LINES; i++)
        if (write(fd, line, WIDTH) != WIDTH)
            die("write: %s", strerror(errno));
    if (pid == 0)
        _exit(0);
    exit_status(pid);
    FILE *file = fopen(path, "r");
    for (char before = 0; file != NULL && fread(line, 1, WIDTH, file) == WIDTH; lines++) {
        for (int i = 1; i < WIDTH - 1; i++)
            if (line[i] != line[0]) {
                torn++;
                break;
            }
        turns += before != line[0];
        before = line[0];
    }
    if (file != NULL)
        fclose(file);
    unlink(path);
    put("torn_writes", torn);
    put("lost_writes", 2 * LINES - lines);
    put("turns_of_writers", turns);
}

static int stay(void)
{
    sleep_ms(2000);
    return 0;
}

// A copy of this program runs; its name is then given to another file: does the link follow the name?
static void own_program(void)
{
    char path[TEMPORARY], link[64], buffer[65536];
    int to = temporary(path), from = open("/proc/self/exe", O_RDONLY);
    ssize_t n;
    struct stat before, after;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        (void)!write(to, buffer, n);
    fchmod(to, 0700);
    fstat(to, &before);
    close(to);
    close(from);
    pid_t pid = fork();
    if (pid == 0) {
        execl(path, path, "stay", (char *)NULL);
        _exit(127);
    }
    sleep_ms(100);
    put("open_for_writing_errno", open(path, O_WRONLY) < 0 ? errno : 0);
    unlink(path);
    int other = open(path, O_CREAT | O_WRONLY, 0700);
    snprintf(link, sizeof link, "/proc/%d/exe", pid);
    if (stat(link, &after) == 0)
        put("link_leads_to_what_runs", after.st_ino == before.st_ino && after.st_dev == before.st_dev);
    else
        unavailable("link_leads_to_what_runs", strerror(errno));
    close(other);
    unlink(path);
    kill(pid, SIGKILL);
    exit_status(pid);
}

static void closing(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        int left = 0;
        for (int i = 0; i < 100; i++)
            (void)!dup(1);
        if (syscall(SYS_close_range, 3, ~0u, 0) < 0)
            _exit(255);
        for (int fd = 3; fd < 1024; fd++)
            left += fcntl(fd, F_GETFD) >= 0;
        _exit(left > 254 ? 254 : left);
    }
    int left = exit_status(pid);
    if (left == 255)
        unavailable("descriptors_left", "no close_range: a kernel before 5.9");
    else
        put("descriptors_left", left);
}

// The shell of system(3): read in a substitution says who reads; a builtin would be named without a path.
static void shell(void)
{
    put("substitution_forks", system("x=$(read p rest </proc/self/stat; echo $p); test \"$x\" != $$") == 0);
    put("pgrep_is_a_builtin", system("test \"$(command -v pgrep)\" = pgrep") == 0);
}

// Bounds of tasks beside RLIMIT_NPROC, by the file that says them.
static void bounds(void)
{
    const char *files[] = {"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"};
    int found = 0;
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        found += access(files[i], R_OK) == 0;
    put("other_bounds_of_tasks", found);
}

static void symbols(void)
{
    const char *names[] = {"copy_process", "bprm_init", "begin_new_exec", "install_exec_creds"};
    int found[4] = {0};
    char line[512], symbol[256];
    FILE *file = fopen("/proc/kallsyms", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%*s %*s %255s", symbol) == 1)
            for (int i = 0; i < 4; i++)
                found[i] += strcmp(symbol, names[i]) == 0;
    if (file != NULL)
        fclose(file);
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof line, "kernel_has_%s", names[i]);
        if (found[0])
            put(line, found[i] > 0);
        else
            unavailable(line, "no /proc/kallsyms");
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "stay") == 0)
        return stay();
    pending_signals();
    copied();
    writes();
    own_program();
    closing();
    shell();
    bounds();
    symbols();
    return 0;
}
