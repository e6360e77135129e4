// A C parent whose spawns are timed on command; the protocol is SpawnLoop.java's.
#include "spawn.h"

#define PHASES 8
#define PHASE_NS 1100000 // beside busy programs a spawn waits for ticks: a sleep of whole ticks would keep to one phase

static void measure(struct spawn *s, long reps, long gap_ns, long fault_reps)
{
    s->cold_ms = gap_ns / 1000000;
    for (long i = 0; i < reps + WARMUPS; i++) {
        if (gap_ns)
            sleep_ns(1 + i % PHASES * PHASE_NS);
        spawn_repetition(s, &spawned[i]);
    }
    for (long i = 0; i < reps; i++)
        printf("{\"rep\":%ld,\"call_ns\":%lld,\"reaped_ns\":%lld}\n", i, (long long)spawned[i + WARMUPS].call_ns,
               (long long)spawned[i + WARMUPS].reaped_ns);
    for (long i = 0; i < fault_reps && i < reps; i++) { // getrusage disturbs nothing: the same repetitions
        const struct spawned *r = &spawned[i + WARMUPS];
        printf("{\"fault_rep\":%ld,\"minflt_caller\":%ld,\"minflt_process\":%ld,\"minflt_children\":%ld}\n", i,
               r->minflt_caller, r->minflt_caller, r->minflt_child);
    }
    printf("{\"done\":true}\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[256];
    bench_start("spawn_loop", argc, argv);
    struct spawn s = spawn_options("fork");
    long pages = option_long("pages", 0, 0, 1L << 28), huge = option_long("huge", 0, 0, 1L << 17);
    long threads = option_long("threads", 0, 0, 20000), open_fds = option_long("open", 0, 0, 1L << 20);
    long warmups = option_long("warmups", 20, 0, 1000);
    options_end();
    s.reps = MAX_REPS; // so that all of the array is touched beforehand
    s.envp = environ;
    spawn_prepare(&s);
    build_fds(0, open_fds, false);
    build_thp(huge);
    build_touched(pages, false);
    build_threads(threads, 0);
    for (long i = 0; i < warmups; i++)
        spawn_repetition(&s, &spawned[0]);
    printf("{\"ready\":true,\"version\":\"%s\"}\n", __VERSION__);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        long reps, gap_ns, fault_reps;
        if (sscanf(line, "measure %ld %ld %ld", &reps, &gap_ns, &fault_reps) != 3 || reps < 0 || reps > MAX_REPS)
            die("not a command: %s", line);
        measure(&s, reps, gap_ns, fault_reps);
    }
    return 0;
}
