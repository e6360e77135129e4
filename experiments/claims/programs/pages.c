// Copy-on-write page by page: what is shared after fork(), what a first write copies, with small and huge pages.
#include "figures.h"
#include <pthread.h>

#define PAGE 4096L
#define HUGE (2L << 20)
static volatile double *seen;

static char *mapped(long bytes, int sharing, int advice)
{
    char *base = mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    base = (char *)(((uintptr_t)base + HUGE - 1) / HUGE * HUGE);
    madvise(base, bytes, advice);
    memset(base, 1, bytes);
    return base;
}

static void write_each(char *base, long bytes, long step)
{
    for (long at = 0; at < bytes; at += step)
        base[at]++;
}

// Free memory is what the whole machine has: a child of a parent this large takes far less than another copy.
static void shared_pages(void)
{
    long bytes = 256L << 20;
    char *base = mapped(bytes, MAP_PRIVATE, MADV_NOHUGEPAGE);
    pid_t pid = fork();
    if (pid == 0) {
        seen[0] = field_kb("/proc/self/smaps_rollup", "Private_Dirty");
        seen[1] = field_kb("/proc/self/smaps_rollup", "Shared_Dirty");
        seen[2] = field_kb("/proc/self/status", "VmPTE");
        _exit(0);
    }
    exit_status(pid);
    put("fork_256mib_child_shared_mib", seen[1] / 1024);
    put("fork_256mib_child_private_mib", seen[0] / 1024);
    put("fork_256mib_child_page_tables_kib", seen[2]);
    munmap(base, bytes);
}

// Faults of a parent that writes 1024 pages once a child shares them, and once that child has gone.
static void faults(const char *alive, const char *gone, int sharing)
{
    long bytes = 1024 * PAGE;
    char *base = mapped(bytes, sharing, MADV_NOHUGEPAGE);
    for (int wait_first = 0; wait_first < 2; wait_first++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;)
                pause();
        }
        if (wait_first)
            kill(pid, SIGKILL), exit_status(pid);
        long before = minor_faults();
        write_each(base, bytes, PAGE);
        put(wait_first ? gone : alive, minor_faults() - before);
        if (!wait_first)
            kill(pid, SIGKILL), exit_status(pid);
    }
    munmap(base, bytes);
}

// What one written byte of a huge page costs a child: how much it copies, and what the other pages cost after that.
static void huge_page(void)
{
    char *base = mapped(HUGE, MAP_PRIVATE, MADV_HUGEPAGE);
    if (field_kb("/proc/self/smaps_rollup", "AnonHugePages") < 2048) {
        unavailable("thp_first_write_copies_kib", "no transparent huge page was given");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        field_kb("/proc/self/smaps_rollup", "Private_Dirty");  // what reading takes is its own by now
        long private = field_kb("/proc/self/smaps_rollup", "Private_Dirty"), before;
        double from = now_us();
        base[0]++;
        seen[0] = now_us() - from;
        seen[1] = field_kb("/proc/self/smaps_rollup", "Private_Dirty") - private;
        before = minor_faults();
        write_each(base, HUGE, PAGE);
        seen[2] = minor_faults() - before;
        _exit(0);
    }
    exit_status(pid);
    put("thp_first_write_us", seen[0]);
    put("thp_first_write_copies_kib", seen[1]);
    put("thp_faults_of_the_rest", seen[2]);
    munmap(base, HUGE);
}

static void *waits(void *barrier)
{
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

// /proc/meminfo counts kernel stacks of the whole machine: many threads stand out from what else starts and ends.
static void kernel_stacks(void)
{
    enum { THREADS = 400 };
    static pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    long before = field_kb("/proc/meminfo", "KernelStack");
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], &small, waits, &barrier) != 0)
            die("pthread_create");
    pthread_barrier_wait(&barrier);
    long after = field_kb("/proc/meminfo", "KernelStack");
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    put("kernel_stack_kib", (double)(after - before) / THREADS);
}

int main(void)
{
    seen = shared_page();
    kernel_stacks();
    shared_pages();
    faults("faults_child_alive", "faults_child_gone", MAP_PRIVATE);
    faults("faults_shared_child_alive", "faults_shared_child_gone", MAP_SHARED);
    huge_page();
    return 0;
}
