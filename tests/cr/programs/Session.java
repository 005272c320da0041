/** A counter that a pool of threads adds to, a timer, and garbage to collect; `get` and `add` come on standard input. */
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

class Session {
    public static void main(String[] arguments) throws Exception {
        var count = new AtomicInteger();
        var ticks = new AtomicInteger();
        var pool = Executors.newFixedThreadPool(8);
        var timer = Executors.newSingleThreadScheduledExecutor();
        timer.scheduleAtFixedRate(ticks::incrementAndGet, 5, 5, TimeUnit.MILLISECONDS);
        List<String> kept = new ArrayList<>();
        for (var lines = new Scanner(System.in); lines.hasNextLine();) {
            if (lines.nextLine().equals("add")) {
                var parts = new ArrayList<java.util.concurrent.Future<Integer>>();
                for (int i = 0; i < 1000; i++) {
                    parts.add(pool.submit(count::incrementAndGet));
                    kept.add("line " + i);
                }
                for (var part : parts) {
                    part.get();
                }
                System.gc();
                continue;
            }
            int before = ticks.get();
            Thread.sleep(50);
            System.out.println(count.get() + " " + kept.size() + " " + (ticks.get() > before));
        }
        System.exit(0);
    }
}
