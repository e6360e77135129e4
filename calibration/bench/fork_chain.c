// fork costs per vma and generation: each fork without exec adds a link to the anon_vma chain of every vma with pages.
#include "spawn.h"

// Goes down one generation; the ancestor waits and passes on how its child ended.
static void descend(void)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        leave_no_orphan(timeout_s);
        return;
    }
    if (waitpid(pid, &status, 0) != pid)
        _exit(2);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
}

int main(int argc, char **argv)
{
    bench_start("fork_chain", argc, argv);
    struct spawn s = spawn_options("fork");
    long depth = option_long("depth", 0, 0, 200), vmas = option_long("vmas", 0, 0, 60000);
    options_end();
    spawn_prepare(&s);
    build_vmas("anon_page", vmas);
    for (long i = 0; i < depth; i++)
        descend();
    spawn_run(&s);
    return 0;
}
