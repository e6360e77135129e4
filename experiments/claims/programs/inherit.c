// What a child inherits from fork() and from vfork(), and what the parent does meanwhile.
#include "figures.h"
#include <linux/sched.h>
#include <pthread.h>

static volatile long *seen;

static void descriptors(void)
{
    char path[TEMPORARY];
    int fd = temporary(path);
    int closing = open("/dev/null", O_RDONLY | O_CLOEXEC), kept = open("/dev/null", O_RDONLY);
    unlink(path);
    pid_t pid = fork();
    if (pid == 0) {
        (void)!write(fd, "12345", 5);
        seen[0] = fcntl(closing, F_GETFD);
        char self[160];
        snprintf(self, sizeof self, "test -e /proc/self/fd/%d; a=$?; test -e /proc/self/fd/%d; exit $((a * 2 + $?))",
                 closing, kept);
        execl("/bin/sh", "sh", "-c", self, (char *)NULL);
        _exit(127);
    }
    int status = exit_status(pid);
    put("fork_offset_seen_by_parent_bytes", (double)lseek(fd, 0, SEEK_CUR));
    put("fork_keeps_cloexec_fd", seen[0] == FD_CLOEXEC);
    put("exec_keeps_cloexec_fd", (status & 2) == 0);
    put("exec_keeps_plain_fd", (status & 1) == 0);
    char line[128], *flags;
    snprintf(line, sizeof line, "/proc/self/fdinfo/%d", closing);
    FILE *info = fopen(line, "r");
    while (info != NULL && fgets(line, sizeof line, info) != NULL)
        if ((flags = strstr(line, "flags:")) != NULL)
            put("fdinfo_shows_cloexec", (strtol(flags + 6, NULL, 8) & O_CLOEXEC) != 0);
    if (info != NULL)
        fclose(info);
    close(fd), close(closing), close(kept);
}

static void signals(void)
{
    sigset_t set, old, found;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGUSR1);
    pid_t pid = fork();
    if (pid == 0) {
        sigpending(&found);
        seen[0] = sigismember(&found, SIGUSR1);
        sigprocmask(SIG_BLOCK, NULL, &found);
        seen[1] = sigismember(&found, SIGUSR1);
        _exit(0);
    }
    exit_status(pid);
    put("fork_child_has_pending", seen[0]);
    put("fork_child_keeps_mask", seen[1]);
    signal(SIGUSR1, SIG_IGN);
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGUSR1, SIG_DFL);
}

static void *counts(void *stop)
{
    while (!*(volatile int *)stop) {
        seen[4]++;
        sleep_ms(1);
    }
    return NULL;
}

// The child shares the parent's memory, so it may look at the parent's thread itself.
static void vfork_parent(void)
{
    static volatile int stop;
    pthread_t other;
    volatile int local = 0;
    seen[4] = 0;
    pthread_create(&other, NULL, counts, (void *)&stop);
    pid_t caller = getpid();
    double from = now_us();
    pid_t pid = vfork();
    if (pid == 0) {
        char path[64], line[512];
        long before = seen[4];
        local = 7;
        sleep_ms(50);
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", caller, caller);
        int fd = open(path, O_RDONLY);
        ssize_t n = read(fd, line, sizeof line - 1);
        line[n > 0 ? n : 0] = 0;
        char *end = strrchr(line, ')');
        seen[5] = end != NULL ? end[2] : '?';
        seen[6] = seen[4] - before;
        _exit(0);
    }
    double waited = now_us() - from;
    exit_status(pid);
    stop = 1;
    pthread_join(other, NULL);
    put("vfork_parent_waits_ms", waited / 1e3);
    put("vfork_parent_state_is_d", seen[5] == 'D');
    put("vfork_other_thread_ran", seen[6] > 5);
    put("vfork_child_write_reaches_parent", local == 7);
}

// A vfork parent is killed by SIGKILL while its child still lives: TASK_KILLABLE.
static void vfork_killed(void)
{
    pid_t victim = fork();
    if (victim == 0) {
        if (vfork() == 0) {
            sleep_ms(300);
            _exit(0);
        }
        _exit(0);
    }
    sleep_ms(50);
    double from = now_us();
    kill(victim, SIGKILL);
    int status = exit_status(victim);
    put("vfork_parent_killed_after_ms", (now_us() - from) / 1e3);
    put("vfork_parent_killed", status == -SIGKILL);
}

int main(void)
{
    seen = shared_page();
    descriptors();
    signals();
    vfork_parent();
    vfork_killed();
    return 0;
}
