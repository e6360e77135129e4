// Which system call a library function makes and with which flags, and what an exec maps: seen with ptrace.
#include "figures.h"
#include <linux/sched.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

static void *nothing(void *argument)
{
    return argument;
}

static void subject(const char *what)
{
    char *argv[] = {"true", NULL};
    pthread_t thread;
    pid_t pid;
    if (strcmp(what, "fork") == 0 && fork() == 0)
        _exit(0);
    if (strcmp(what, "vfork") == 0 && vfork() == 0)
        _exit(0);
    if (strcmp(what, "posix_spawn") == 0)
        posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
    if (strcmp(what, "system") == 0)
        (void)!system("exit 0");
    if (strcmp(what, "pthread_create") == 0 && pthread_create(&thread, NULL, nothing, NULL) == 0)
        pthread_join(thread, NULL);
    _exit(0);
}

// The flags of the first call that makes a task; the lower byte of clone's is its exit signal.
static bool creates(pid_t pid, struct user_regs_struct *regs, unsigned long *flags)
{
    switch (regs->orig_rax) {
    case SYS_clone:
        *flags = regs->rdi & ~0xfful;
        return true;
    case SYS_clone3:
        *flags = (unsigned long)ptrace(PTRACE_PEEKDATA, pid, (void *)regs->rdi, NULL);
        return true;
    case SYS_fork:
        *flags = 0;
        return true;
    case SYS_vfork:
        *flags = CLONE_VM | CLONE_VFORK;
        return true;
    }
    return false;
}

static void flags_of(const char *what)
{
    struct { const char *name; unsigned long bit; } bits[] = {
        {"vm", CLONE_VM}, {"vfork", CLONE_VFORK}, {"files", CLONE_FILES}, {"thread", CLONE_THREAD},
        {"settls", CLONE_SETTLS}, {"child_settid", CLONE_CHILD_SETTID},
    };
    struct user_regs_struct regs;
    unsigned long flags = 0;
    char name[64];
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(125);
        raise(SIGSTOP);
        subject(what);
    }
    int status;
    waitpid(pid, &status, 0);
    snprintf(name, sizeof name, "%s_call", what);
    if (WIFEXITED(status)) {
        unavailable(name, "ptrace is not allowed");
        return;
    }
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) < 0 || WIFEXITED(status))
            die("%s makes no task", what);
        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            continue;
        ptrace(PTRACE_GETREGS, pid, NULL, &regs);
        if (creates(pid, &regs, &flags) && (long)regs.rax == -ENOSYS)  // on entry; its result is not there yet
            break;
    }
    put(name, (double)regs.orig_rax);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        snprintf(name, sizeof name, "%s_%s", what, bits[i].name);
        put(name, (flags & bits[i].bit) != 0);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static int count_maps(pid_t pid, const char *word)
{
    char path[64], line[1024];
    int found = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        found += strstr(line, word) != NULL;
    if (file != NULL)
        fclose(file);
    return found;
}

// vmas when the new program starts, of which how many are its own and its loader's; then the mmap calls of user space.
static void mapped_by_exec(void)
{
    struct user_regs_struct regs;
    int status, mmaps = 0, stops = 0;
    char *target = realpath("/bin/true", NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(125);
        execl(target, "true", (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) {
        unavailable("exec_vmas", "ptrace is not allowed");
        return;
    }
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    put("exec_vmas", count_maps(pid, "-"));
    put("exec_vmas_of_program", count_maps(pid, target));
    put("exec_vmas_of_loader", count_maps(pid, "/ld"));
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) < 0 || WIFEXITED(status))
            break;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80) && stops++ % 2 == 0) {
            ptrace(PTRACE_GETREGS, pid, NULL, &regs);
            mmaps += regs.orig_rax == SYS_mmap;
        }
    }
    put("exec_mmap_calls_of_user_space", mmaps);
    free(target);
}

int main(void)
{
    const char *names[] = {"fork", "vfork", "posix_spawn", "system", "pthread_create"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        flags_of(names[i]);
    mapped_by_exec();
    return 0;
}
