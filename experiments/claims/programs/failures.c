// Each row of the failure table made to happen: its errno, or what is left afterwards.
#include "figures.h"
#include <grp.h>
#include <sys/statvfs.h>

static volatile long *seen;
#define NOBODY 65534

static int fork_errno(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    int error = errno;
    return pid < 0 ? error : (exit_status(pid), 0);
}

// RLIMIT_NPROC does not bind root: an unprivileged user's limit of zero does.
static void eagain(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
            _exit(125);
        setrlimit(RLIMIT_NPROC, &none);
        _exit(fork_errno());
    }
    put("nproc_errno", exit_status(pid));
}

// A pid namespace whose init has gone takes no more processes: ENOMEM, with all memory there.
static void enomem(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
            _exit(125);
        fork_errno();
        _exit(fork_errno());
    }
    int error = exit_status(pid);
    if (error == 125)
        unavailable("dead_pid_namespace_errno", "no right to unshare a pid namespace");
    else
        put("dead_pid_namespace_errno", error);
}

static int exec_errno(const char *path)
{
    pid_t pid = vfork();
    if (pid == 0) {
        char *argv[] = {(char *)path, NULL};
        execve(path, argv, environ);
        seen[0] = errno;
        _exit(0);
    }
    exit_status(pid);
    return (int)seen[0];
}

static void copy_self(int to)
{
    char buffer[65536];
    ssize_t n;
    int from = open("/proc/self/exe", O_RDONLY);
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        (void)!write(to, buffer, n);
    close(from);
}

static void exec_failures(void)
{
    char text[TEMPORARY], busy[TEMPORARY];
    int fd = temporary(text);
    (void)!write(fd, "no format that is known\n", 24);
    fchmod(fd, 0755);
    close(fd);
    put("unknown_format_errno", exec_errno(text));
    unlink(text);
    fd = temporary(busy);
    copy_self(fd);
    fchmod(fd, 0755);
    put("open_for_writing_errno", exec_errno(busy));
    close(fd);
    unlink(busy);
}

static void left_by_atexit(void)
{
    seen[1]++;
}

// exit() in a vfork child flushes the parent's buffer and runs its atexit handlers; the parent's stack is as it was.
static void vfork_exit(void)
{
    char path[TEMPORARY];
    volatile long guard = 0x5eed;
    int fd = temporary(path);
    pid_t outer = fork();  // so that this process's own handlers stay as they are
    if (outer == 0) {
        FILE *file = fdopen(dup(fd), "w");
        fputs("buffered", file);
        atexit(left_by_atexit);
        if (vfork() == 0)
            exit(0);
        seen[2] = guard == 0x5eed;
        seen[3] = lseek(fd, 0, SEEK_END);
        fflush(file);
        seen[4] = lseek(fd, 0, SEEK_END);
        _exit(0);
    }
    put("vfork_exit_parent_status", exit_status(outer));
    put("vfork_exit_parent_stack_whole", seen[2]);
    put("vfork_exit_ran_atexit_of_parent", seen[1]);
    put("vfork_exit_flushed_parents_buffer_bytes", seen[3]);
    put("vfork_exit_bytes_after_parents_flush", seen[4]);
    close(fd);
    unlink(path);
}

static void setuid_program(void)
{
    char path[TEMPORARY];
    if (geteuid() != 0) {
        unavailable("setuid_euid_is_owner", "it takes root to make a file of another user");
        return;
    }
    int fd = temporary(path);
    struct statvfs place;
    if (fstatvfs(fd, &place) < 0 || (place.f_flag & ST_NOSUID) != 0) {
        unavailable("setuid_euid_is_owner", "the folder of temporary files is mounted nosuid");
        unlink(path);
        return;
    }
    copy_self(fd);
    (void)!fchown(fd, NOBODY, NOBODY);
    fchmod(fd, 04755);
    close(fd);
    for (int no_new_privs = 0; no_new_privs < 2; no_new_privs++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (no_new_privs)
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            execl(path, path, "euid", (char *)NULL);
            _exit(127);
        }
        put(no_new_privs ? "no_new_privs_euid_is_owner" : "setuid_euid_is_owner", exit_status(pid) == 1);
    }
    chmod(path, 0700);
    (void)!chown(path, 0, 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setresuid(0, NOBODY, 0) < 0)  // the real user may execute it, the effective one may not
            _exit(125);
        seen[0] = 0;
        execl(path, path, "euid", (char *)NULL);
        _exit(errno);
    }
    put("real_uid_may_effective_may_not_errno", exit_status(pid));
    unlink(path);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "euid") == 0)
        return geteuid() == NOBODY;
    seen = shared_page();
    eagain();
    enomem();
    exec_failures();
    vfork_exit();
    setuid_program();
    return 0;
}
