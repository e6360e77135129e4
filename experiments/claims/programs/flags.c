// What each flag of clone() shares and what its absence copies; exercise 2 (CLONE_FILES seen through /proc/PID/fd).
#include "figures.h"
#include <linux/sched.h>
#include <sys/mount.h>

static volatile int *seen;  // in a page that both share whatever the flags are
static volatile int private_word;
static char stack[65536] __attribute__((aligned(16)));

enum { WRITES_WORD, CHANGES_DIRECTORY, OPENS_FILE, CHANGES_HANDLER, ASKS_NAMESPACE };

static void handler(int signal)
{
    (void)signal;
}

static unsigned long namespace_of(const char *name)
{
    struct stat status;
    char path[64];
    snprintf(path, sizeof path, "/proc/thread-self/ns/%s", name);
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

static int child(void *argument)
{
    switch ((int)(intptr_t)argument) {
    case WRITES_WORD:
        private_word = 1;
        break;
    case CHANGES_DIRECTORY:
        (void)!chdir("/proc");
        break;
    case OPENS_FILE:
        seen[0] = open("/dev/null", O_WRONLY);
        (void)!write(seen[0], "x", 1);
        break;
    case CHANGES_HANDLER:
        signal(SIGUSR2, handler);
        break;
    case ASKS_NAMESPACE:
        seen[0] = (int)syscall(SYS_getpid);
        seen[1] = (int)namespace_of("net") != seen[2];
        break;
    }
    _exit(0);
}

static pid_t start(unsigned long flags, int what)
{
    return clone(child, stack + sizeof stack, (int)(flags | SIGCHLD), (void *)(intptr_t)what);
}

static int run(unsigned long flags, int what)
{
    pid_t pid = start(flags, what);
    return pid < 0 ? -errno : exit_status(pid);
}

static int has_fd(pid_t pid, int fd)
{
    struct stat status;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    return lstat(path, &status) == 0;
}

static void files(const char *name, unsigned long flags)
{
    seen[0] = -1;
    run(flags, OPENS_FILE);
    put(name, has_fd(getpid(), seen[0]));
    if (flags & CLONE_FILES)
        close(seen[0]);
}

static int in_proc(void)
{
    char path[256];
    int there = getcwd(path, sizeof path) != NULL && strcmp(path, "/proc") == 0;
    (void)!chdir("/");
    return there;
}

static int handled(void)
{
    struct sigaction action;
    sigaction(SIGUSR2, NULL, &action);
    signal(SIGUSR2, SIG_DFL);
    return action.sa_handler == handler;
}

// A thread ends with SYS_exit, not with _exit's exit_group, which would end the caller as well.
static int thread(void *argument)
{
    volatile int *at = argument;
    at[0] = (int)syscall(SYS_getpid);
    at[1] = (int)syscall(SYS_getpgid, 0);
    at[2] = (int)syscall(SYS_gettid);
    __atomic_store_n(&at[3], 1, __ATOMIC_SEQ_CST);
    syscall(SYS_exit, 0);
    return 0;
}

static void thread_group(const char *group, const char *process_group, unsigned long flags)
{
    static char thread_stack[65536] __attribute__((aligned(16)));
    memset((void *)seen, 0, 16);
    pid_t pid = clone(thread, thread_stack + sizeof thread_stack, (int)flags, (void *)seen);
    if (pid < 0)
        die("clone: %s", strerror(errno));
    while (!__atomic_load_n(&seen[3], __ATOMIC_SEQ_CST))
        sleep_ms(1);
    sleep_ms(5);  // until it has left the stack
    put(group, seen[0] == getpid());
    put(process_group, seen[1] == getpgid(0));
    if ((flags & CLONE_THREAD) == 0)
        exit_status(pid);
}

static void namespaces(void)
{
    seen[2] = (int)namespace_of("net");
    int failed = run(CLONE_NEWPID, ASKS_NAMESPACE);
    if (failed < 0)
        unavailable("newpid_child_pid", strerror(-failed));
    else
        put("newpid_child_pid", seen[0]);
    run(0, ASKS_NAMESPACE);
    put("inherited_pid_is_one", seen[0] == 1);
    put("inherited_net_differs", seen[1]);
    failed = run(CLONE_NEWNET, ASKS_NAMESPACE);
    if (failed < 0)
        unavailable("newnet_differs", strerror(-failed));
    else
        put("newnet_differs", seen[1]);
}

int main(void)
{
    seen = shared_page();
    private_word = 0, run(CLONE_VM, WRITES_WORD), put("vm_shared", private_word);
    private_word = 0, run(0, WRITES_WORD), put("vm_absent_shared", private_word);
    files("files_fd_in_parent", CLONE_FILES);
    files("files_absent_fd_in_parent", 0);
    run(CLONE_FS, CHANGES_DIRECTORY), put("fs_shared", in_proc());
    run(0, CHANGES_DIRECTORY), put("fs_absent_shared", in_proc());
    run(CLONE_VM | CLONE_SIGHAND, CHANGES_HANDLER), put("sighand_shared", handled());
    run(CLONE_VM, CHANGES_HANDLER), put("sighand_absent_shared", handled());
    put("sighand_without_vm_errno", -run(CLONE_SIGHAND, CHANGES_HANDLER));
    thread_group("thread_same_tgid", "thread_same_pgid", CLONE_VM | CLONE_SIGHAND | CLONE_THREAD);
    thread_group("thread_absent_same_tgid", "thread_absent_same_pgid", CLONE_VM | SIGCHLD);
    namespaces();
    return 0;
}
