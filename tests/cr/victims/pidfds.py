"""Descriptors of processes: its own, its init's, that of one that has ended."""
import os
import select
import signal

from victim import equal, must, run


class Victim:
    def set_up(self):
        self.own, self.init = os.pidfd_open(os.getpid()), os.pidfd_open(1)
        child = os.fork()
        if child == 0:
            os._exit(3)
        self.ended = os.pidfd_open(child)
        os.waitpid(child, 0)

    def change(self):
        for fd in (self.own, self.init, self.ended):
            os.close(fd)

    def pid_of(self, fd):
        with open(f"/proc/self/fdinfo/{fd}") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))

    def verify(self):
        equal(self.pid_of(self.own), os.getpid(), "its own pid")
        equal(self.pid_of(self.init), 1, "the pid of its init")
        equal(self.pid_of(self.ended), -1, "the pid of the one that has ended")
        signal.pidfd_send_signal(self.own, 0)
        must(select.select([self.ended, self.own], [], [], 0)[0] == [self.ended], "who has ended")


run(Victim())
