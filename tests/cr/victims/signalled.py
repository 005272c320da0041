"""Descriptors that send a signal when something happens, to this process or another one."""
import fcntl
import os
import signal
import socket
import struct

from victim import equal, run

OWN = os.O_ASYNC


def asked(end, signal_number=0):
    fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(end, fcntl.F_SETSIG, signal_number)
    fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | OWN)


class Victim:
    def set_up(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO, signal.SIGRTMIN})
        self.pair = socket.socketpair()
        asked(self.pair[0])
        self.pipe = os.pipe()
        asked(self.pipe[0], signal.SIGRTMIN)

    def change(self):
        fcntl.fcntl(self.pair[0], fcntl.F_SETFL, 0)
        os.close(self.pipe[0])

    def verify(self):
        equal(signal.sigpending(), set(), "what waits before")
        self.pair[1].send(b"x")
        equal(signal.sigtimedwait({signal.SIGIO}, 5).si_signo, signal.SIGIO, "the signal")
        self.pair[0].recv(9)
        os.write(self.pipe[1], b"x")
        got = signal.sigtimedwait({signal.SIGRTMIN}, 5)
        equal(got.si_signo, signal.SIGRTMIN, "the chosen signal")
        os.read(self.pipe[0], 9)
        equal(fcntl.fcntl(self.pair[0], fcntl.F_GETOWN), os.getpid(), "the owner")
        while signal.sigtimedwait({signal.SIGIO, signal.SIGRTMIN}, 0):
            pass


run(Victim())
