"""Locks of all three kinds, and files of the kernel's."""
import fcntl
import os
import struct
import subprocess
import sys

from victim import equal, must, run

OFD_SETLK = 37
TRY = """
import fcntl, os, struct, sys
fd = os.open("/srv/locked", os.O_RDWR)
def free(take):
    try:
        take()
        return 1
    except OSError:
        return 0
lock = lambda start: struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, 1, 0)
print(free(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
      *(free(lambda: fcntl.fcntl(fd, 37, lock(start))) for start in (5, 15, 25, 35)))
"""


class Victim:
    def set_up(self):
        self.fd = os.open("/srv/locked", os.O_RDWR | os.O_CREAT)
        os.write(self.fd, bytes(100))
        fcntl.flock(self.fd, fcntl.LOCK_SH)
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 10, 0)
        fcntl.lockf(self.fd, fcntl.LOCK_SH, 10, 10)
        self.other = os.open("/srv/locked", os.O_RDWR)
        fcntl.fcntl(self.other, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 20, 10, 0))
        self.status = os.open("/proc/self/status", os.O_RDONLY)
        os.read(self.status, 6)
        self.null, self.random = os.open("/dev/null", os.O_WRONLY), os.open("/dev/urandom", os.O_RDONLY)

    def change(self):
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(os.open("/srv/locked", os.O_RDWR))
        os.close(self.other)
        os.close(self.status)

    def verify(self):
        free = subprocess.run([sys.executable, "-c", TRY], stdout=subprocess.PIPE, check=True).stdout.split()
        equal(free, [b"0", b"0", b"0", b"0", b"1"], "what is free")
        name = os.pread(self.status, 100, 6).split()[0].decode()
        equal(name, open("/proc/self/comm").read().strip(), "the name in the status")
        must(f"\nPid:\t{os.getpid()}\n".encode() in os.pread(self.status, 9999, 0), "it is another's status")
        equal(os.lseek(self.status, 0, 1), 6, "the offset")
        equal(os.write(self.null, b"12"), 2, "what null takes")
        equal(len(os.read(self.random, 16)), 16, "what random gives")


run(Victim())
