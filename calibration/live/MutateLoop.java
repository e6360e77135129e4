import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * A JVM whose threads write to a byte[] while it forks children that live for a while: counts what they meet.
 *
 * Arguments: the library of mutate_fork.c, then NAME=NUMBER as mutate_loop.c has them (thp is the launcher's to set).
 * Prints one line when it is ready, waits for a line, then prints one JSON line a round, with mutate_loop.c's names.
 */
public final class MutateLoop {
    private static final int PAGE = 4096;
    private static final long TICK_NS = 1_000_000;
    private static final int LINE = 16; // longs: two cache lines apart
    private static final int WRITES = 0, FAULTS = 1, WAITED = 2, LONGEST = 3;

    private static native void sleepUntil(long atNs);
    private static native long faults();
    private static native long forked(long lifeNs);
    private static native long reaped(long pid);
    private static native double pssPages(long pid);

    private static byte[] memory;
    private static int pages = 16384, threads = 2, burst = 10, sequential, lifeMs, afterMs = 200, rounds = 3;
    private static AtomicLongArray counters;
    private static volatile boolean running;
    private static final AtomicInteger parked = new AtomicInteger();

    public static void main(String[] args) throws Exception {
        System.load(args[0]);
        for (String each : Arrays.asList(args).subList(1, args.length)) {
            String[] pair = each.split("=");
            int value = Integer.parseInt(pair[1]);
            switch (pair[0]) {
                case "pages": pages = value; break;
                case "threads": threads = value; break;
                case "burst": burst = value; break;
                case "sequential": sequential = value; break;
                case "life_ms": lifeMs = value; break;
                case "after_ms": afterMs = value; break;
                case "rounds": rounds = value; break;
                case "thp": break;
                default: throw new IllegalArgumentException("no such option: " + each);
            }
        }
        memory = new byte[pages * PAGE];
        counters = new AtomicLongArray((threads + 1) * LINE);
        touch();
        for (int i = 0; i < threads; i++) {
            final int index = i;
            Thread thread = new Thread(() -> mutate(index));
            thread.setDaemon(true);
            thread.start();
        }
        settle(1_500); // until the loops are compiled
        System.out.println("{\"ready\":true}");
        if (System.in.read() < 0) {
            return;
        }
        for (int i = 0; i < rounds; i++) {
            round(i);
        }
    }

    private static void touch() {
        for (int page = 0; page < pages; page++) {
            memory[page * PAGE]++;
        }
    }

    private static void settle(long ms) {
        running = true;
        sleepUntil(System.nanoTime() + ms * 1_000_000);
        running = false;
        while (parked.get() < threads) {
            sleepUntil(System.nanoTime() + 100_000);
        }
    }

    private static void mutate(int index) {
        long state = 0x9e3779b97f4a7c15L * (index + 1);
        int share = pages / threads, at = 0, mine = index * LINE;
        for (;;) {
            if (!running) {
                parked.incrementAndGet();
                while (!running) {
                    sleepUntil(System.nanoTime() + 200_000);
                }
                parked.decrementAndGet();
            }
            long before = System.nanoTime();
            for (int i = 0; i < burst; i++) {
                state ^= state << 13;
                state ^= state >>> 7;
                state ^= state << 17;
                int page = sequential != 0 ? index * share + at++ % share : (int) ((state >>> 33) * pages >>> 31);
                memory[page * PAGE] = (byte) i;
                long after = System.nanoTime();
                counters.lazySet(mine + WAITED, counters.getPlain(mine + WAITED) + after - before);
                if (after - before > counters.getPlain(mine + LONGEST)) {
                    counters.lazySet(mine + LONGEST, after - before);
                }
                before = after;
            }
            counters.lazySet(mine + WRITES, counters.getPlain(mine + WRITES) + burst);
            counters.lazySet(mine + FAULTS, faults());
            sleepUntil(before + TICK_NS);
        }
    }

    private static long sum(int what) {
        long found = 0;
        for (int i = 0; i < threads; i++) {
            found += counters.get(i * LINE + what);
        }
        return found;
    }

    private static long[] seen() {
        return new long[] {sum(WRITES), sum(FAULTS), sum(WAITED), System.nanoTime()};
    }

    private static void round(int number) {
        touch(); // whatever an earlier child left protected is writable again
        running = true;
        sleepUntil(System.nanoTime() + 50_000_000);
        long[] idle = seen();
        sleepUntil(System.nanoTime() + 250_000_000);
        long self = ProcessHandle.current().pid();
        double held = pssPages(self), grown = -1;
        sleepUntil(System.nanoTime() + 20_000_000);
        long[] before = seen();
        for (int i = 0; i < threads; i++) {
            counters.set(i * LINE + LONGEST, 0);
        }
        long from = System.nanoTime(), readAt = 0, pid = forked(lifeMs * 1_000_000L), called = System.nanoTime();
        if (lifeMs > 100) {
            sleepUntil(from + (lifeMs - 100) * 1_000_000L);
            long begin = System.nanoTime();
            double parent = pssPages(self), child = pssPages(pid);
            readAt = (begin + System.nanoTime()) / 2;
            grown = held < 0 || parent < 0 || child < 0 ? -1 : parent + child - held;
        }
        long childFaults = reaped(pid);
        long[] gone = seen();
        sleepUntil(System.nanoTime() + afterMs * 1_000_000L);
        long[] end = seen();
        long longest = 0;
        for (int i = 0; i < threads; i++) {
            longest = Math.max(longest, counters.get(i * LINE + LONGEST));
        }
        settle(0);
        System.out.println(String.format(Locale.ROOT, "{\"round\":%d,\"rate\":%.3f,\"idle_write_ns\":%.3f,"
                + "\"call_ns\":%d,\"gone_ns\":%d,\"gone_faults\":%d,\"end_ns\":%d,\"end_faults\":%d,\"end_writes\":%d,"
                + "\"end_waited_ns\":%d,\"longest_ns\":%d,\"child_faults\":%d,\"read_ns\":%d,\"grown_pages\":%.1f}",
                number, (before[0] - idle[0]) * 1e9 / (before[3] - idle[3]),
                (double) (before[2] - idle[2]) / (before[0] - idle[0]), called - from, gone[3] - from,
                gone[1] - before[1], end[3] - from, end[1] - before[1], end[0] - before[0], end[2] - before[2],
                longest, childFaults, readAt == 0 ? 0 : readAt - from, grown));
    }
}
