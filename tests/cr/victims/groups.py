"""A group that a later child has joined, and an orphan that the parent of its session has taken in."""
import ctypes
import os
import signal

from victim import equal, run

SET_CHILD_SUBREAPER, GET_CHILD_SUBREAPER = 36, 37
libc = ctypes.CDLL(None)


def fork(action):
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(0)
    return pid


def wait_for_ever():
    while True:
        signal.pause()


def lead(writer):
    """Tells of the orphan only once it is one."""
    os.setsid()
    reader, told = os.pipe()
    os.waitpid(fork(lambda: os.write(told, b"%d" % fork(wait_for_ever))), 0)
    os.write(writer, os.read(reader, 20))
    wait_for_ever()


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(") ")[2].split()[1])


class Victim:
    def set_up(self):
        libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.leader = fork(wait_for_ever)
        os.setpgid(self.leader, self.leader)
        self.others = [fork(wait_for_ever) for _ in range(2)]
        for pid in self.others:
            os.setpgid(pid, self.leader)
        reader, writer = os.pipe()
        self.session = fork(lambda: lead(writer))
        self.orphan = int(os.read(reader, 20))
        os.close(reader)
        os.close(writer)

    def change(self):
        for pid in (self.leader, self.others[0], self.orphan):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.setpgid(self.others[1], self.others[1])
        libc.prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def verify(self):
        for pid in (self.leader, *self.others):
            equal(os.getpgid(pid), self.leader, "the group")
            equal(parent_of(pid), os.getpid(), "the parent")
        equal(parent_of(self.orphan), os.getpid(), "who has taken the orphan in")
        equal(os.getsid(self.orphan), self.session, "the session of the orphan")
        reaps = ctypes.c_int()
        libc.prctl(GET_CHILD_SUBREAPER, ctypes.byref(reaps), 0, 0, 0)
        equal(reaps.value, 1, "whether it takes orphans in")
        equal(os.waitpid(-1, os.WNOHANG), (0, 0), "what has ended")


run(Victim())
