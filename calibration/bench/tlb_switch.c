// One pass over pages, one line a page, right after the CPU has come back from a partner that made such a pass too:
// does the TLB keep an address space's translations (PCID) while another one runs?
// --partner process: another address space; thread: the same one; self: nobody, a byte through a pipe and back.
#include "parent.h"
#include "value.h"

static int there[2], back[2];
static long pages, other_pages;

static char *chain(long count)
{   // a cycle that visits a line of each page
    char *start = map_4k((size_t)count * PAGE_BYTES, 0);
    for (size_t i = 0, n = (size_t)count; i < n; i++) {
        size_t here = permuted(i, n), next = permuted((i + 1) % n, n);
        *(void **)(start + here * PAGE_BYTES + here % 64 * 64) = start + next * PAGE_BYTES + next % 64 * 64;
    }
    return start + permuted(0, (size_t)count) * PAGE_BYTES + permuted(0, (size_t)count) % 64 * 64;
}

static void *volatile *pass(void *volatile *at, long count)
{
    for (long i = 0; i < count; i++)
        at = (void *volatile *)*at;
    return at;
}

static void send_byte(int fd)
{
    if (write(fd, "x", 1) != 1)
        die("pipe: %s", strerror(errno));
}

static void *partner(void *unused)
{
    char byte;
    void *volatile *at = (void *volatile *)chain(other_pages > 1 ? other_pages : 2);
    while (read(there[0], &byte, 1) == 1) {
        at = pass(at, other_pages);
        send_byte(back[1]);
    }
    return at ? unused : NULL;
}

static pid_t partner_start(const char *kind)
{
    cpu_set_t mine;
    pid_t pid = -1;
    if (!strcmp(kind, "thread")) {
        CPU_ZERO(&mine);
        CPU_SET((size_t)pinned_cpu(), &mine);
        start_thread(partner, &mine);
    } else if (!strcmp(kind, "process")) {
        pid = fork();
        if (pid < 0)
            die("fork: %s", strerror(errno));
        if (pid == 0) {
            leave_no_orphan(timeout_s);
            partner(NULL);
            _exit(0);
        }
    }
    return pid;
}

int main(int argc, char **argv)
{
    bench_start("tlb_switch", argc, argv);
    long reps = option_long("reps", 60, 1, MAX_REPS);
    pages = option_long("pages", 256, 2, 1L << 20);
    other_pages = option_long("partner-pages", 256, 0, 1L << 20);
    const char *kind = option_text("partner", "process");
    options_end();
    one_of("partner", kind, "process thread self");
    if (pinned_cpu() < 0)
        pin_to(0, raw_cpu());
    if (pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    bool alone = !strcmp(kind, "self");
    char byte;
    pid_t pid = partner_start(kind);
    void *volatile *at = pass((void *volatile *)chain(pages), pages);
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        at = pass(at, pages);
        send_byte(alone ? back[1] : there[1]);
        if (read(back[0], &byte, 1) != 1)
            die("the partner ended");
        int64_t from = now_ns();
        at = pass(at, pages);
        value_put(now_ns() - from, pages, 0);
    }
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    value_print();
    return at == NULL;
}
