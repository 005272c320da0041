"""A working directory in /proc, memory barriers that were registered, and what has been nameless for several checkpoints."""
import ctypes
import mmap
import os

from victim import equal, must, run

libc = ctypes.CDLL(None, use_errno=True)
PRIVATE_EXPEDITED, REGISTER = 8, 16


def membarrier(command):
    return libc.syscall(324, command, 0, 0)


class Victim:
    def set_up(self):
        os.makedirs("/srv/place")
        self.file = os.open("/srv/place/file", os.O_RDWR | os.O_CREAT, 0o600)
        os.write(self.file, b"x" * 4096)
        self.memory = mmap.mmap(self.file, 4096, mmap.MAP_SHARED)
        os.unlink("/srv/place/file")
        os.chdir("/proc/self/net")
        self.place = os.getcwd()
        must(membarrier(PRIVATE_EXPEDITED) < 0, "a barrier that was not registered")
        equal(membarrier(REGISTER), 0, "registering")

    def change(self):
        os.chdir("/")
        os.pwrite(self.file, b"changed", 0)

    def verify(self):
        equal(os.getcwd(), self.place, "the working directory")
        equal(membarrier(PRIVATE_EXPEDITED), 0, "a barrier")
        equal(os.pread(self.file, 9, 0), b"xxxxxxxxx", "the file")
        self.memory[0] = ord("y")
        equal(os.pread(self.file, 2, 0), b"yx", "what is written to memory")
        self.memory[0] = ord("x")


run(Victim())
