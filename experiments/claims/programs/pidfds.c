// Exercise 5: ten children of clone3 with CLONE_PIDFD, reaped in the order in which poll() tells of their end; and the
// same with SIGCHLD and waitpid(-1). Also: CLONE_PIDFD and an exit signal given to the older clone().
#include "figures.h"
#include <linux/sched.h>
#include <poll.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
enum { CHILDREN = 10 };
static volatile sig_atomic_t signals;

static long clone3(struct clone_args *args)
{
    return syscall(SYS_clone3, args, sizeof *args);
}

static void live(int i, unsigned unit_ms)
{
    sleep_ms((long)((i * 7 % CHILDREN + 1) * unit_ms));
    _exit(i);
}

static void with_pidfds(unsigned unit_ms)
{
    struct pollfd fds[CHILDREN];
    int reaped = 0, in_order = 0, last = -1, cloexec = 0;
    for (int i = 0; i < CHILDREN; i++) {
        int fd = -1;
        struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd, .exit_signal = SIGCHLD};
        long pid = clone3(&args);
        if (pid < 0) {
            unavailable("pidfd_reaped", strerror(errno));
            return;
        }
        if (pid == 0)
            live(i, unit_ms);
        fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        cloexec += fcntl(fd, F_GETFD) == FD_CLOEXEC;
    }
    while (reaped < CHILDREN) {
        if (poll(fds, CHILDREN, 10000) <= 0)
            die("poll: %s", strerror(errno));
        for (int i = 0; i < CHILDREN; i++) {
            siginfo_t info;
            if (fds[i].fd < 0 || !(fds[i].revents & POLLIN))
                continue;
            if (waitid(P_PIDFD, fds[i].fd, &info, WEXITED) < 0)
                die("waitid: %s", strerror(errno));
            int turn = i * 7 % CHILDREN;
            in_order += info.si_status == i && turn > last;
            last = turn;
            close(fds[i].fd);
            fds[i].fd = -1;
            reaped++;
        }
    }
    put("pidfd_reaped", reaped);
    put("pidfd_reaped_in_order_of_end", in_order);
    put("pidfd_is_cloexec", cloexec);
}

static void count(int signal)
{
    (void)signal;
    signals++;
}

// Signals of one number do not queue: children that end while it is blocked give one.
static void with_sigchld(void)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    signal(SIGCHLD, count);
    sigprocmask(SIG_BLOCK, &set, &old);
    for (int i = 0; i < CHILDREN; i++)
        if (fork() == 0)
            _exit(0);
    sleep_ms(60);
    sigprocmask(SIG_SETMASK, &old, NULL);
    sleep_ms(5);
    int reaped = 0;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        reaped++;
    put("sigchld_signals_of_ten", signals);
    put("sigchld_reaped_by_loop", reaped);
    signal(SIGCHLD, SIG_DFL);
}

static void older_clone(void)
{
    int fd = -1;
    long pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &fd, NULL, 0);
    if (pid == 0)
        _exit(0);
    put("clone_gives_pidfd", pid > 0 && fd >= 0);
    exit_status((pid_t)pid);
    signals = 0;
    signal(SIGUSR1, count);
    pid = syscall(SYS_clone, SIGUSR1, NULL, NULL, NULL, 0);
    if (pid == 0)
        _exit(0);
    exit_status((pid_t)pid);
    put("clone_takes_exit_signal", signals);
}

// A pid of one's choice needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE; EINVAL: a kernel before 5.5.
static void set_tid(void)
{
    pid_t wanted = getpid() + 20000 > 32000 ? 31999 : getpid() + 20000;
    struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
    long pid = clone3(&args);
    if (pid == 0)
        _exit(0);
    if (pid < 0) {
        unavailable("set_tid_gives_it", strerror(errno));
        return;
    }
    exit_status((pid_t)pid);
    put("set_tid_gives_it", pid == wanted);
}

static void from_memfd(void)
{
    char buffer[65536], *argv[] = {"true", NULL};
    int from = open("/bin/true", O_RDONLY), fd = memfd_create("program", MFD_CLOEXEC);
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        (void)!write(fd, buffer, n);
    pid_t pid = fork();
    if (pid == 0) {
        fexecve(fd, argv, environ);
        _exit(127);
    }
    put("fexecve_of_memfd_works", exit_status(pid) == 0);
}

int main(int argc, char **argv)
{
    with_pidfds(argc > 1 ? (unsigned)atoi(argv[1]) : 20);
    with_sigchld();
    older_clone();
    set_tid();
    from_memfd();
    return 0;
}
