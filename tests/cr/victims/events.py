"""Counters, signals and timers that are read as files, and the lists of what a program waits for."""
import ctypes
import errno
import os
import select
import signal
import struct
import time

from victim import equal, must, run

libc = ctypes.CDLL(None, use_errno=True)
NONBLOCK = os.O_NONBLOCK
WAIT = select.EPOLLIN
EDGE = select.EPOLLIN | select.EPOLLET
HOUR = 3600


def call(name, *args):
    result = getattr(libc, name)(*args)
    must(result >= 0, f"{name}: {errno.errorcode[ctypes.get_errno()]}" if result < 0 else "")
    return result


def control(epoll, operation, fd, events, data):
    event = ctypes.create_string_buffer(struct.pack("=IQ", events, data))
    call("epoll_ctl", epoll, operation, fd, event)


def wait(epoll):
    room = ctypes.create_string_buffer(12 * 32)
    count = call("epoll_wait", epoll, room, 32, 0)
    return sorted(struct.unpack_from("=IQ", room, 12 * i) for i in range(count))


def set_timer(fd, flags, interval, value):
    call("timerfd_settime", fd, flags, struct.pack("4q", interval, 0, *divmod(value, 10**9)), None)


def left(fd):
    room = ctypes.create_string_buffer(32)
    call("timerfd_gettime", fd, room)
    return struct.unpack("4q", room.raw)


class Victim:
    def set_up(self):
        self.count = call("eventfd", 5, NONBLOCK | 1)
        self.large = call("eventfd", 0, NONBLOCK)
        os.write(self.large, struct.pack("Q", 2**40))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        self.signals = call("signalfd", -1, struct.pack("Q", 1 << signal.SIGUSR1 - 1) + bytes(120), NONBLOCK)
        self.timers = [call("timerfd_create", time.CLOCK_MONOTONIC, NONBLOCK) for _ in range(3)]
        set_timer(self.timers[0], 0, 2 * HOUR, HOUR * 10**9)
        set_timer(self.timers[1], 0, 0, 1)
        self.deadline = time.monotonic_ns() + HOUR * 10**9
        set_timer(self.timers[2], 1, 0, self.deadline)
        self.set_up_lists()

    def set_up_lists(self):
        self.inner, self.outer = call("epoll_create1", 0), call("epoll_create1", 0)
        control(self.inner, 1, self.count, WAIT, 2**63 + 1)
        control(self.inner, 1, self.signals, EDGE, 2)
        control(self.inner, 1, self.timers[0], WAIT, 3)
        control(self.outer, 1, self.inner, WAIT, 4)
        # of one description twice, then its first number goes to another
        borrowed = os.dup(self.large)
        control(self.outer, 1, self.large, WAIT, 5)
        control(self.outer, 1, borrowed, WAIT, 6)
        os.dup2(self.timers[1], borrowed)
        self.borrowed = borrowed
        closed = os.dup(self.large)
        control(self.outer, 1, closed, WAIT, 7)
        os.close(closed)

    def change(self):
        os.read(self.count, 8)
        os.read(self.large, 8)
        call("signalfd", self.signals, bytes(128), 0)
        os.read(self.timers[1], 8)
        set_timer(self.timers[0], 0, 0, 1)
        set_timer(self.timers[2], 0, 0, 0)
        control(self.inner, 2, self.count, 0, 0)
        control(self.outer, 3, self.large, WAIT, 99)
        os.close(self.borrowed)

    def verify(self):
        equal(os.read(self.count, 8), struct.pack("Q", 1), "what a semaphore gives")
        os.write(self.count, struct.pack("Q", 1))
        equal(os.read(self.large, 8), struct.pack("Q", 2**40), "the count")
        os.write(self.large, struct.pack("Q", 2**40))
        os.kill(os.getpid(), signal.SIGUSR1)
        got = os.read(self.signals, 128)
        equal(struct.unpack_from("I", got)[0], signal.SIGUSR1, "the signal")
        self.verify_timers()
        self.verify_lists()

    def verify_timers(self):
        interval, _, seconds, _ = left(self.timers[0])
        equal(interval, 2 * HOUR, "the interval")
        must(HOUR - 60 < seconds < HOUR, f"{seconds} seconds are left")
        equal(os.read(self.timers[1], 8), struct.pack("Q", 1), "the ticks")
        set_timer(self.timers[1], 0, 0, 1)
        select.select([self.timers[1]], [], [])
        equal(left(self.timers[1]), (0, 0, 0, 0), "the timer that is over")
        _, _, seconds, nanoseconds = left(self.timers[2])
        due = time.monotonic_ns() + seconds * 10**9 + nanoseconds
        must(abs(due - self.deadline) < 10**8, f"it is due {due - self.deadline} ns later")

    def verify_lists(self):
        os.kill(os.getpid(), signal.SIGUSR1)
        equal(wait(self.inner), [(WAIT, 2), (WAIT, 2**63 + 1)], "what the inner list tells")
        equal(wait(self.inner), [(WAIT, 2**63 + 1)], "what it tells again")
        os.kill(os.getpid(), signal.SIGUSR1)
        equal(wait(self.outer)[:3], [(WAIT, 4), (WAIT, 5), (WAIT, 6)], "what the outer list tells")
        os.read(self.signals, 128)
        control(self.outer, 3, self.large, WAIT, 5)
        os.dup2(self.large, self.borrowed)
        control(self.outer, 3, self.borrowed, WAIT, 6)
        os.dup2(self.timers[1], self.borrowed)


run(Victim())
