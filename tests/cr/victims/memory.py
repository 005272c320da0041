"""Objects, strings and numbers of a Python program."""
import os

from victim import equal, run


class Victim:
    def set_up(self):
        self.pid = os.getpid()
        self.list = [str(i) * 3 for i in range(100_000)]
        self.sum = sum(map(len, self.list))

    def change(self):
        self.list = [text[::-1] + "changed" for text in self.list]

    def verify(self):
        equal(os.getpid(), self.pid, "the pid")
        equal(sum(map(len, self.list)), self.sum, "the sum")
        equal(self.list[12_345], "12345" * 3, "an element")


run(Victim())
