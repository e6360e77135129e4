import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.LockSupport;

/**
 * A JVM whose ProcessBuilder.start() and waitFor() are timed.
 *
 * Arguments: FILL_MIB (written byte arrays of 1 MiB), THREADS (parked platform threads beside the JVM's own), FDS (open
 * ones beside the JVM's own), WARMUPS, SLOW_WARMUPS (how many where a start takes over SLOW_NS), SLOW_NS, TARGET.
 *
 * Protocol: prints one JSON line {"ready": ...}; then for every line "measure REPS GAP_NS FAULT_REPS" on stdin one JSON
 * line a repetition and {"done": ...}; ends at end of file. Nothing is printed between two repetitions, and faults are
 * counted in repetitions of their own: reading /proc before a start would warm and dirty what the start then pays for.
 */
public final class SpawnLoop {
    private static final int BLOCK_BYTES = (1 << 20) - 64; // with its header still within one collector region
    private static final int STRIDE_BYTES = 512;
    private static final int DROPPED = 2;
    private static final int MINFLT = 7; // fields after the command's name in /proc/PID/stat, counted from 0
    private static final int CMINFLT = 8;

    private final ProcessBuilder builder;

    private SpawnLoop(String target) {
        builder = new ProcessBuilder(target);
    }

    public static void main(String[] args) throws Exception {
        List<byte[]> heap = fill(Integer.parseInt(args[0]));
        List<Thread> parked = park(Integer.parseInt(args[1]));
        List<FileInputStream> open = open(Integer.parseInt(args[2]));
        SpawnLoop loop = new SpawnLoop(args[6]);
        int warmed = loop.warmUp(Integer.parseInt(args[3]), Integer.parseInt(args[4]), Long.parseLong(args[5]));
        System.out.println("{\"ready\":true,\"version\":\"" + System.getProperty("java.vm.version")
                + "\",\"warmups\":" + warmed + ",\"parked\":" + parked.size() + ",\"opened\":" + open.size() + "}");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split(" ");
            if (words.length != 4 || !words[0].equals("measure")) {
                throw new IllegalArgumentException("not a command: " + line);
            }
            int reps = Integer.parseInt(words[1]);
            long gapNs = Long.parseLong(words[2]);
            String timed = loop.time(reps, gapNs);
            System.out.print(timed + loop.countFaults(Integer.parseInt(words[3]), gapNs));
            System.out.println("{\"done\":true,\"checksum\":" + checksum(heap) + "}");
        }
    }

    private static List<byte[]> fill(int mebibytes) {
        List<byte[]> heap = new ArrayList<>(mebibytes);
        for (int i = 0; i < mebibytes; i++) {
            byte[] block = new byte[BLOCK_BYTES];
            for (int at = 0; at < block.length; at += STRIDE_BYTES) {
                block[at] = (byte) (at / STRIDE_BYTES + i);
            }
            heap.add(block);
        }
        return heap;
    }

    /** Read only: keeps the heap reachable to the end without writing to it. */
    private static long checksum(List<byte[]> heap) {
        long sum = 0;
        for (byte[] block : heap) {
            sum += block[0];
        }
        return sum;
    }

    private static List<Thread> park(int count) throws InterruptedException {
        CountDownLatch started = new CountDownLatch(count);
        List<Thread> threads = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            Thread thread = new Thread(() -> {
                started.countDown();
                while (true) {
                    LockSupport.park();
                }
            }, "parked-" + i);
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        started.await();
        return threads;
    }

    private static List<FileInputStream> open(int count) throws IOException {
        List<FileInputStream> files = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            files.add(new FileInputStream("/dev/null"));
        }
        return files;
    }

    private static void gap(long gapNs) throws InterruptedException {
        if (gapNs > 0) {
            Thread.sleep(gapNs / 1_000_000, (int) (gapNs % 1_000_000));
        }
    }

    private int warmUp(int warmups, int slowWarmups, long slowNs) throws Exception {
        int done = 0;
        int slow = 0;
        while (done < warmups && !(done >= slowWarmups && 2 * slow > done)) {
            long begin = System.nanoTime();
            builder.start().waitFor();
            slow += System.nanoTime() - begin > slowNs ? 1 : 0;
            done++;
        }
        return done;
    }

    private String time(int reps, long gapNs) throws Exception {
        long[] call = new long[reps];
        long[] reaped = new long[reps];
        for (int i = -DROPPED; i < reps; i++) {
            gap(gapNs);
            long begin = System.nanoTime();
            Process process = builder.start();
            long started = System.nanoTime();
            int status = process.waitFor();
            long ended = System.nanoTime();
            check(status);
            if (i >= 0) {
                call[i] = started - begin;
                reaped[i] = ended - begin;
            }
        }
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < reps; i++) {
            lines.append("{\"rep\":").append(i).append(",\"call_ns\":").append(call[i]);
            lines.append(",\"reaped_ns\":").append(reaped[i]).append("}\n");
        }
        return lines.toString();
    }

    /** Minor faults of the calling thread, of the whole JVM and of the children it reaped, a repetition. */
    private String countFaults(int reps, long gapNs) throws Exception {
        if (reps == 0) {
            return "";
        }
        StringBuilder lines = new StringBuilder();
        try (RandomAccessFile thread = new RandomAccessFile("/proc/thread-self/stat", "r");
                RandomAccessFile process = new RandomAccessFile("/proc/self/stat", "r")) {
            for (int i = -DROPPED; i < reps; i++) {
                gap(gapNs);
                stat(thread); // takes the faults of reading itself
                stat(process);
                long[] threadBefore = stat(thread);
                long[] processBefore = stat(process);
                check(builder.start().waitFor());
                long[] processAfter = stat(process);
                long[] threadAfter = stat(thread);
                if (i >= 0) {
                    lines.append("{\"fault_rep\":").append(i);
                    lines.append(",\"minflt_caller\":").append(threadAfter[0] - threadBefore[0]);
                    lines.append(",\"minflt_process\":").append(processAfter[0] - processBefore[0]);
                    lines.append(",\"minflt_children\":").append(processAfter[1] - processBefore[1]).append("}\n");
                }
            }
        }
        return lines.toString();
    }

    private static long[] stat(RandomAccessFile file) throws IOException {
        byte[] text = new byte[1024];
        file.seek(0);
        int length = file.read(text);
        String line = new String(text, 0, length, StandardCharsets.ISO_8859_1);
        String[] fields = line.substring(line.lastIndexOf(')') + 2).split(" ");
        return new long[] {Long.parseLong(fields[MINFLT]), Long.parseLong(fields[CMINFLT])};
    }

    private static void check(int status) {
        if (status != 0) {
            throw new IllegalStateException("the target ended with status " + status);
        }
    }
}
