// The timed spawn: {"rep","warmup","call_ns","reaped_ns",["main_ns"],"child_cpu",...}.
// call: the spawn call has returned in the caller; reaped: waitpid has; main: the target's first instruction.
#ifndef SPAWN_H
#define SPAWN_H
#include "parent.h"
#include "stamp.h"
#include <linux/sched.h>
#include <spawn.h>

struct spawn {
    const char *mech, *path;       // path NULL: the child calls _exit at once
    char **argv, **envp;
    uint64_t clone_flags;
    long reps, cold_ms, cold_mib;
    bool cold_spin, stamped;       // stamped: the target writes its stamp and exits with its cpu
    bool elsewhere;                // the child moves to another CPU first, and drops its mm there
    void (*before)(void);          // untimed, before each repetition (NULL: nothing)
    int warmups;
};

struct spawned {
    int64_t call_ns, reaped_ns, main_ns;
    int child_cpu, cpu_before, cpu_after;
    long minflt_caller, minflt_child;
};
static struct spawned spawned[MAX_REPS + WARMUPS];
static int spawned_count, stamp_pipe = -1;
static char *child_stack;
static volatile char *cold_region;
#define CHILD_STACK_BYTES 65536
static int childs_cpu;

static inline uint64_t clone_flags_of(const char *list)
{
    static const struct { const char *name; uint64_t bit; } known[] = {
        {"vm", CLONE_VM}, {"vfork", CLONE_VFORK}, {"files", CLONE_FILES}, {"fs", CLONE_FS},
        {"sighand", CLONE_SIGHAND}, {"sysvsem", CLONE_SYSVSEM}, {"io", CLONE_IO},
        {"clear_sighand", 0x100000000ULL}, {"newuts", CLONE_NEWUTS}, {"newipc", CLONE_NEWIPC},
        {"newns", CLONE_NEWNS}, {"newpid", CLONE_NEWPID}, {"newnet", CLONE_NEWNET}};
    uint64_t flags = 0;
    char copy[256];
    snprintf(copy, sizeof copy, "%s", list ? list : "");
    for (char *name = strtok(copy, ","); name; name = strtok(NULL, ",")) {
        size_t i = 0, count = sizeof known / sizeof *known;
        while (i < count && strcmp(known[i].name, name))
            i++;
        if (i == count)
            die("--clone-flags: no flag %s", name);
        flags |= known[i].bit;
    }
    return flags;
}

static inline struct spawn spawn_options(const char *default_mech)
{
    static char *no_words[2], *no_env[1];
    struct spawn s = {.warmups = WARMUPS, .argv = no_words, .envp = no_env};
    s.mech = option_text("mech", default_mech);
    s.clone_flags = clone_flags_of(option_text("clone-flags", NULL));
    s.path = option_text("exec", "none");
    if (!strcmp(s.path, "none"))
        s.path = NULL;
    no_words[0] = (char *)s.path;
    s.reps = option_long("reps", 9, 1, MAX_REPS);
    s.cold_ms = option_long("cold-ms", 0, 0, 10000);
    s.cold_spin = option_flag("cold-spin");
    s.cold_mib = option_long("cold-mib", 0, 0, 4096);
    s.elsewhere = option_flag("elsewhere");
    one_of("mech", s.mech, "fork fork_raw vfork posix_spawn clone_vm clone3");
    return s;
}

static inline void spawn_check(const struct spawn *s)
{
    if (!strcmp(s->mech, "posix_spawn") && !s->path)
        die("posix_spawn needs --exec PATH");
    if (s->path && access(s->path, X_OK) < 0)
        die("%s: %s", s->path, strerror(errno));
}

__attribute__((noreturn)) static inline void child_main(const struct spawn *s)
{
    if (s->elsewhere)
        pin_to(0, childs_cpu);
    if (s->path) {
        execve(s->path, s->argv, s->envp);
        _exit(255);
    }
    _exit(raw_cpu() & 255);
}

static int child_of_clone(void *s)
{
    child_main(s);
}

static inline pid_t clone3_child(const struct spawn *s)
{
    struct clone_args args = {.flags = s->clone_flags, .exit_signal = SIGCHLD};
    if (s->clone_flags & CLONE_VM) { // glibc's clone() has the assembly that starts on another stack
        int flags = (int)(s->clone_flags & 0xffffff00ULL) | SIGCHLD;
        return clone(child_of_clone, child_stack + CHILD_STACK_BYTES, flags, (void *)s);
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        child_main(s);
    return pid;
}

__attribute__((noinline)) static pid_t spawn_once(const struct spawn *s)
{
    pid_t pid = -1;
    if (!strcmp(s->mech, "vfork"))
        pid = vfork();
    else if (!strcmp(s->mech, "fork"))
        pid = fork();
    else if (!strcmp(s->mech, "fork_raw"))
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    else if (!strcmp(s->mech, "clone_vm"))
        pid = clone(child_of_clone, child_stack + CHILD_STACK_BYTES, CLONE_VM | SIGCHLD, (void *)s);
    else if (!strcmp(s->mech, "clone3"))
        pid = clone3_child(s);
    else if (posix_spawn(&pid, s->path, NULL, NULL, s->argv, s->envp))
        pid = -1;
    if (pid == 0)
        child_main(s);
    return pid;
}

static inline void cool_down(const struct spawn *s)
{
    for (size_t i = 0; i < (size_t)s->cold_mib << 20; i += 64)
        (void)cold_region[i];
    if (s->cold_ms && s->cold_spin)
        spin_ns(s->cold_ms * 1000000);
    else if (s->cold_ms)
        sleep_ns(s->cold_ms * 1000000);
}

static inline void spawn_repetition(const struct spawn *s, struct spawned *r)
{
    struct rusage self[2], child[2];
    struct stamp stamp = {0};
    int status;
    if (s->before)
        s->before();
    getrusage(RUSAGE_SELF, &self[0]);
    getrusage(RUSAGE_CHILDREN, &child[0]);
    cool_down(s);
    r->cpu_before = raw_cpu();
    int64_t start = now_ns();
    pid_t pid = spawn_once(s);
    int64_t called = now_ns();
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die("spawn: %s", strerror(errno));
    int64_t reaped = now_ns();
    r->cpu_after = raw_cpu();
    getrusage(RUSAGE_SELF, &self[1]);
    getrusage(RUSAGE_CHILDREN, &child[1]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
        die("the child failed (wait status %d)", status);
    r->call_ns = called - start;
    r->reaped_ns = reaped - start;
    r->main_ns = -1;
    if (s->stamped) {
        if (read(stamp_pipe, &stamp, sizeof stamp) != sizeof stamp)
            die("the target left no stamp");
        r->main_ns = stamp.ns - start;
    }
    r->child_cpu = !s->path || s->stamped ? WEXITSTATUS(status) : -1;
    r->minflt_caller = self[1].ru_minflt - self[0].ru_minflt;
    r->minflt_child = child[1].ru_minflt - child[0].ru_minflt;
}

static inline void part_cpus(void)
{   // the caller stays on the last CPU that it may use, its children go to the first
    cpu_set_t allowed;
    int last = -1;
    childs_cpu = -1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        die("sched_getaffinity: %s", strerror(errno));
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            childs_cpu = childs_cpu < 0 ? cpu : childs_cpu;
            last = cpu;
        }
    if (last == childs_cpu)
        unavailable("there is one CPU only");
    pin_to(0, last);
}

static inline void spawn_prepare(const struct spawn *s)
{   // all that the timed part needs is there, touched, before the state is captured
    spawn_check(s);
    if (s->elsewhere)
        part_cpus();
    child_stack = mmap(NULL, CHILD_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (child_stack == MAP_FAILED)
        die("stack: %s", strerror(errno));
    write_each(child_stack, CHILD_STACK_BYTES / PAGE_BYTES, PAGE_BYTES, false);
    memset(spawned, 1, (size_t)(s->reps + WARMUPS) * sizeof *spawned);
    if (s->stamped) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0 || dup2(ends[1], STAMP_FD) < 0)
            die("pipe: %s", strerror(errno));
        close(ends[1]);
        stamp_pipe = ends[0];
    }
    if (s->cold_mib) { // not copied by fork: it is there to push other things out of the caches
        size_t bytes = (size_t)s->cold_mib << 20;
        need_memory((double)bytes);
        char *start = map_4k(bytes, 0);
        write_each(start, bytes / PAGE_BYTES, PAGE_BYTES, false);
        madvise(start, bytes, MADV_DONTFORK);
        cold_region = start;
    }
}

static inline void spawn_warm(struct spawn *s)
{   // for a bench whose first fork of the finished state counts: warm the path before the state is built
    for (int i = 0; i < s->warmups; i++)
        spawn_repetition(s, &spawned[spawned_count++]);
    s->warmups = 0;
}

static inline void spawned_print(const struct spawned *r, int rep)
{
    printf("{\"rep\":%d,\"warmup\":%s,\"call_ns\":%lld,\"reaped_ns\":%lld,", rep, rep < 0 ? "true" : "false",
           (long long)r->call_ns, (long long)r->reaped_ns);
    if (r->main_ns >= 0)
        printf("\"main_ns\":%lld,", (long long)r->main_ns);
    if (r->child_cpu >= 0 && sysconf(_SC_NPROCESSORS_CONF) < 255)
        printf("\"child_cpu\":%d,", r->child_cpu);
    else
        printf("\"child_cpu\":null,");
    printf("\"caller_cpu_before\":%d,\"caller_cpu_after\":%d,\"minflt_caller\":%ld,\"minflt_child\":%ld}\n",
           r->cpu_before, r->cpu_after, r->minflt_caller, r->minflt_child);
}

static inline void spawn_run(struct spawn *s)
{
    if (hold_wanted)
        spawn_warm(s); // as the timed repetitions find it
    print_header(NULL);
    hold_if_wanted();
    spawn_warm(s);
    for (long i = 0; i < s->reps; i++)
        spawn_repetition(s, &spawned[spawned_count++]);
    for (int i = 0; i < spawned_count; i++)
        spawned_print(&spawned[i], i - WARMUPS);
    fflush(stdout);
}
#endif
