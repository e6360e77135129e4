// Writing to pages shared with a child: a copy while the child lives, a reuse fault once it is gone (--gone),
// a split (and one copy) per 2 MiB page (--thp). --writes W: W pages, strewn over the region. --each: every
// 4 KiB of each 2 MiB page (--thp).
// --gap-us G --burst B: asleep for G before each B of them; the sleep is not counted.
// --random: in no order, other pages each time, so that nothing fetches pte, struct page or line ahead. --alone: no
// child, nothing faults: what such writes take as they are, through ptes or (--thp --each) through pmd mappings; the
// clock is read after each, or they would overlap.
#include "region.h"

static pid_t child_with_same_pages(void)
{
    int ready[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        die("the child ended");
    close(ready[0]);
    sleep_ns(1000000); // it has written, but must still come to rest
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void write_strewn(const struct region *r, long first, long count, bool one_by_one)
{
    for (long i = first; i < first + count; i++) {
        *(volatile char *)(r->start + permuted((uint64_t)(i % r->count), (uint64_t)r->count) * r->stride) = 1;
        if (one_by_one)
            now_ns();
    }
}

struct order { long random_from; bool one_by_one; };

static int64_t rewritten_ns(const struct region *r, long writes, long burst, long gap_us, struct order order)
{   // evenly strewn over the region if there are fewer writes than pages; in no order if `random_from` is not negative
    struct region part = *r;
    part.stride = r->stride * (size_t)(r->count / writes);
    int64_t total = 0;
    for (long done = 0; done < writes; done += burst) {
        part.start = r->start + (size_t)done * part.stride;
        part.count = burst < writes - done ? burst : writes - done;
        if (gap_us)
            sleep_ns(gap_us * 1000);
        int64_t from = now_ns();
        if (order.random_from < 0)
            region_write(&part);
        else
            write_strewn(r, order.random_from + done, part.count, order.one_by_one);
        total += now_ns() - from;
    }
    return total;
}

int main(int argc, char **argv)
{
    bench_start("cow", argc, argv);
    long reps = option_long("reps", 9, 1, MAX_REPS);
    bool gone = option_flag("gone"), each = option_flag("each"), alone = option_flag("alone");
    bool random = option_flag("random");
    long burst = option_long("burst", 1L << 26, 1, 1L << 26), gap_us = option_long("gap-us", 0, 0, 1000000);
    struct region r = region_options();
    long writes = option_long("writes", r.count, 1, each ? r.count * 512 : r.count);
    options_end();
    struct region all = r;
    if (each) {
        all.stride = PAGE_BYTES;
        all.count = (long)(r.bytes / PAGE_BYTES);
        writes = random ? writes : all.count;
    }
    value_total = true;
    region_check(&r);
    all.start = r.start;
    value_begin();
    for (long rep = 0; rep < reps + WARMUPS; rep++) {
        if (r.thp && !alone) { // a split page stays split
            region_unmap(&r);
            region_map(&r);
            region_write(&r);
            all.start = r.start;
        }
        pid_t pid = alone ? -1 : child_with_same_pages();
        if (gone && !alone)
            end_child(pid);
        long faults = minor_faults();
        struct order order = {random ? rep * writes : -1, alone};
        int64_t elapsed_ns = rewritten_ns(&all, writes, burst, gap_us, order);
        value_put(elapsed_ns, writes, minor_faults() - faults);
        if (!gone && !alone)
            end_child(pid);
    }
    value_print();
    return 0;
}
