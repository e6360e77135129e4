// One-way wake-up through a pipe by how long the sleeper has slept: from before the write until the read has returned.
// --same: both on one CPU, which idles during the gap; --other: the writer's CPU stays busy, only the sleeper's idles.
#include "value.h"

static void exchange(int in, int out, int64_t *value)
{
    if (write(out, value, sizeof *value) != sizeof *value || read(in, value, sizeof *value) != sizeof *value)
        die("pipe: %s", strerror(errno));
}

static void sleeper(int in, int out)
{
    int64_t sent;
    leave_no_orphan(timeout_s);
    while (read(in, &sent, sizeof sent) == sizeof sent) {
        int64_t woken_after = now_ns() - sent;
        if (write(out, &woken_after, sizeof woken_after) < 0)
            break;
    }
    _exit(0);
}

static int other_cpu(int mine)
{
    for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
        if (cpu != mine)
            return cpu;
    unavailable("there is one cpu only");
}

int main(int argc, char **argv)
{
    bench_start("wake", argc, argv);
    long reps = option_long("reps", 30, 1, MAX_REPS), gap_us = option_long("gap-us", 0, 0, 1000000);
    bool same = option_flag("same"), other = option_flag("other");
    options_end();
    if (same == other)
        die("one of --same and --other");
    int there[2], back[2], mine = pinned_cpu() >= 0 ? pinned_cpu() : raw_cpu();
    int target = same ? mine : other_cpu(mine);
    pin_to(0, mine);
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    bool spins = other || gap_us < 50; // a shorter sleep would be longer than asked for
    header_add("\"gap\":\"%s\",\"sleeper_cpu\":%d", spins ? "spin" : "sleep", target);
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        pin_to(0, target);
        sleeper(there[0], back[1]);
    }
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        if (spins)
            spin_ns(gap_us * 1000);
        else
            sleep_ns(gap_us * 1000);
        int64_t value = now_ns();
        exchange(back[0], there[1], &value);
        value_put(value, 1, 0);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    value_print();
    return 0;
}
