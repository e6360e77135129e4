// exec without fork: a process with sleeping threads replaces itself, and its other threads end first.
// Each repetition is a fresh process, this bench executed again, which builds itself up as --hold shows it.
#include "exec.h"
#define START_FD 8 // where that process writes when it called execve

static void build_inner(long threads, long pages)
{
    build_touched(pages, false);
    build_threads(threads, 0);
}

__attribute__((noreturn)) static void inner(const struct spawn *s, long threads, long pages)
{
    if (fcntl(START_FD, F_SETFD, FD_CLOEXEC) < 0)
        die("descriptor %d: %s", START_FD, strerror(errno));
    build_inner(threads, pages);
    int64_t start = now_ns();
    if (write(START_FD, &start, sizeof start) != sizeof start)
        die("pipe: %s", strerror(errno));
    execve(s->path, s->argv, s->envp);
    _exit(255);
}

static void repetition(char **words, int start_pipe, struct spawned *r)
{
    int status;
    int64_t start;
    struct stamp stamp;
    r->cpu_before = raw_cpu();
    pid_t pid = vfork();
    if (pid == 0) {
        execv("/proc/self/exe", words);
        _exit(255);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die("vfork: %s", strerror(errno));
    int64_t reaped = now_ns();
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
        die("the process failed (wait status %d)", status);
    if (read(start_pipe, &start, sizeof start) != sizeof start || read(stamp_pipe, &stamp, sizeof stamp) != sizeof stamp)
        die("the target left no stamp");
    r->cpu_after = raw_cpu();
    r->call_ns = r->main_ns = stamp.ns - start; // execve does not return: the call is over when the target begins
    r->reaped_ns = reaped - start;
    r->child_cpu = WEXITSTATUS(status);
    r->minflt_caller = r->minflt_child = 0;
}

int main(int argc, char **argv)
{
    int ends[2];
    bench_start("exec_threads", argc, argv);
    long threads = option_long("threads", 0, 0, 20000), pages = option_long("pages", 0, 0, 1L << 20);
    bool inside = option_flag("inside");
    int outer_stamps = inside ? dup(STAMP_FD) : -1; // exec_options makes a pipe of its own
    struct spawn s = exec_options("vfork", "tiny_static");
    if (inside) {
        if (dup2(outer_stamps, STAMP_FD) < 0 || close(outer_stamps) < 0 || close(stamp_pipe) < 0)
            die("descriptor %d: %s", STAMP_FD, strerror(errno));
        inner(&s, threads, pages);
    }
    if (hold_wanted) {
        build_inner(threads, pages);
        print_header(NULL);
        hold_if_wanted();
    }
    if (pipe(ends) < 0 || dup2(ends[1], START_FD) < 0 || close(ends[1]) < 0)
        die("pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    char **words = calloc((size_t)argc + 2, sizeof *words);
    if (!words)
        die("out of memory");
    memcpy(words, argv, (size_t)argc * sizeof *words);
    words[argc] = "--inside";
    print_header(NULL);
    for (long i = 0; i < s.reps + WARMUPS; i++)
        repetition(words, ends[0], &spawned[spawned_count++]);
    for (int i = 0; i < spawned_count; i++)
        spawned_print(&spawned[i], i - WARMUPS);
    return 0;
}
