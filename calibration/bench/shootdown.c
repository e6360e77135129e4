// A flush of pages that N other CPUs may hold: mprotect takes the right to write from one page (a flush of that page)
// or of 64 (a full flush) while N threads of the process run elsewhere.
// --victim: instead of the caller's time, what each flush takes from such a thread, by the gaps that its loop sees;
// the flushes are GAP_NS apart, so that it runs on between them.
// A CPU that another task holds, or that the hypervisor has taken away (PV TLB flush), needs no interrupt: a repetition
// with fewer interrupts than flushes is made again.
#include "parent.h"
#include "value.h"

#define FULL_PAGES 64
#define MOST_THREADS 512
#define GAP_NS 50000
#define NOTICED_NS 400
#define MOST_NOTICED_NS 200000
#define MOST_TRIES 20
#define RETRY_NS 5000000

static struct { volatile int64_t lost_ns; char pad[56]; } victims[MOST_THREADS];
static long victims_started;

static void *watching_thread(void *unused)
{
    int64_t before = now_ns(), gap;
    long mine = __atomic_fetch_add(&victims_started, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&threads_up, 1, __ATOMIC_SEQ_CST);
    for (int64_t at;; before = at) {
        at = now_ns();
        gap = at - before;
        if (gap > NOTICED_NS && gap < MOST_NOTICED_NS) // a longer one is no flush: another task, or the hypervisor
            victims[mine].lost_ns += gap;
    }
    return unused;
}

static void protect(char *start, size_t bytes, int protection)
{
    if (mprotect(start, bytes, protection) < 0)
        die("mprotect: %s", strerror(errno));
}

static int64_t flushes_ns(char *start, size_t bytes, long n, int64_t gap_ns)
{   // the time of n flushes; giving the right back needs none and is not counted
    int64_t total = 0;
    for (long i = 0; i < n; i++) {
        int64_t from = now_ns();
        protect(start, bytes, PROT_READ);
        total += now_ns() - from;
        protect(start, bytes, PROT_READ | PROT_WRITE);
        if (gap_ns)
            spin_ns(gap_ns);
    }
    return total;
}

static int64_t victim_loss_ns(char *start, size_t bytes, long n)
{   // of the first victim in n flushes, less what it loses without any
    int64_t had = victims[0].lost_ns, from = now_ns();
    flushes_ns(start, bytes, n, GAP_NS);
    int64_t elapsed_ns = now_ns() - from, lost_ns = victims[0].lost_ns - had;
    had = victims[0].lost_ns;
    spin_ns(elapsed_ns);
    lost_ns -= victims[0].lost_ns - had;
    return lost_ns > 0 ? lost_ns : 0;
}

static long shootdowns(void)
{   // interrupts of the machine's CPUs for flushes so far; -1 if the kernel does not count them
    static char text[1 << 18];
    int fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
    ssize_t got = 0, more;
    while (fd >= 0 && (more = read(fd, text + got, sizeof text - 1 - (size_t)got)) > 0)
        got += more;
    if (fd >= 0)
        close(fd);
    text[got] = 0;
    char *at = strstr(text, "TLB:"), *end;
    long sum = 0;
    if (!at)
        return -1;
    for (at += 4;; at = end) {
        long count = strtol(at, &end, 10);
        if (end == at)
            return sum;
        sum += count;
    }
}

int main(int argc, char **argv)
{
    bench_start("shootdown", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS), n = option_long("n", 300, 1, 1000000);
    long running = option_long("running", 0, 0, MOST_THREADS);
    bool full = option_flag("full"), victim = option_flag("victim");
    options_end();
    if (victim && !running)
        die("--victim needs --running");
    size_t bytes = full ? FULL_PAGES * PAGE_BYTES : PAGE_BYTES;
    char *start = map_4k(bytes, 0);
    write_each(start, bytes / PAGE_BYTES, PAGE_BYTES, false);
    start_one_a_cpu(watching_thread, running);
    value_begin();
    for (long rep = 0, tries = 0; rep < reps + WARMUPS; tries++) {
        if (tries > MOST_TRIES * (reps + WARMUPS))
            die("the running threads' cpus get fewer interrupts than there are flushes: others hold them");
        long before = shootdowns();
        int64_t value = victim ? victim_loss_ns(start, bytes, n) : flushes_ns(start, bytes, n, 0);
        if (before >= 0 && shootdowns() - before < running * n * 9 / 10) {
            spin_ns(RETRY_NS); // a cpu that has just woken can be spared for some milliseconds
            continue;
        }
        value_put(value, n, 0);
        rep++;
    }
    value_print();
    return 0;
}
