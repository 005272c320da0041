"""A pool of processes that were forked without running another program: they share most of their memory."""
import multiprocessing
import os

from victim import equal, run

shared = [str(i) * 5 for i in range(100_000)]


def measure(change):
    if change:
        shared[:] = [text + "changed" for text in shared]
    return os.getpid(), sum(map(len, shared))


class Victim:
    def set_up(self):
        self.pool = multiprocessing.get_context("fork").Pool(4)
        self.sum = sum(map(len, shared))
        self.pids = sorted(process.pid for process in self.pool._pool)

    def change(self):
        self.pool.map(measure, [True] * 16, 1)
        shared[0] = "changed"

    def verify(self):
        equal(sum(map(len, shared)), self.sum, "the sum of the parent")
        for pid, total in self.pool.map(measure, [False] * 32, 1):
            equal(total, self.sum, f"the sum of {pid}")
        equal(sorted(process.pid for process in self.pool._pool), self.pids, "the processes")


run(Victim())
