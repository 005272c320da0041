"""Threads that wait: for a lock, for a time, for an event."""
import threading
import time

from victim import equal, must, run


class Victim:
    def set_up(self):
        self.count = 0
        self.lock = threading.Lock()
        self.lock.acquire()
        self.event = threading.Event()
        self.got = []
        self.threads = [threading.Thread(target=self.wait_for_lock, args=(i,), daemon=True) for i in range(8)]
        self.threads.append(threading.Thread(target=self.tick, daemon=True))
        for thread in self.threads:
            thread.start()
        self.ids = [thread.native_id for thread in self.threads]

    def wait_for_lock(self, number):
        self.event.wait()
        with self.lock:
            self.got.append(number)

    def tick(self):
        while True:
            time.sleep(0.005)
            self.count += 1

    def change(self):
        self.event.set()
        self.lock.release()
        for thread in self.threads[:8]:
            thread.join()
        self.got.append("changed")

    def verify(self):
        equal(self.got, [], "who got the lock")
        must(self.lock.locked(), "the lock is free")
        must(all(thread.is_alive() for thread in self.threads), "a thread has ended")
        equal([thread.native_id for thread in self.threads], self.ids, "the ids of the threads")
        count = self.count
        deadline = time.monotonic() + 10
        while self.count == count and time.monotonic() < deadline:
            time.sleep(0.01)
        must(self.count > count, "the thread that counts stands still")


run(Victim())
