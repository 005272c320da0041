"""Children that have ended and were not waited for, by a status and by signals; nobody is told of them again."""
import os
import signal

from victim import equal, run

ENDS = [lambda: os._exit(7), lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGTERM),
        lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os.kill(os.getpid(), signal.SIGSEGV)]
STATUSES = [7 << 8, 0, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV]


def fork(action):
    pid = os.fork()
    if pid == 0:
        action()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def other_user():
    with open("/proc/self/comm", "w") as file:
        file.write("a name (of it)")
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1001, 1001, 1001)
    os._exit(3)


class Victim:
    def set_up(self):
        self.signals = 0
        signal.signal(signal.SIGCHLD, self.count)
        self.make()

    def count(self, *_):
        self.signals += 1

    def make(self):
        self.pids = [fork(end) for end in ENDS]
        self.stranger = fork(other_user)
        self.signals = 0

    def change(self):
        for pid in self.pids[:3]:
            os.waitpid(pid, 0)

    def verify(self):
        equal(self.signals, 0, "the signals for them")
        with open(f"/proc/{self.stranger}/stat") as file:
            equal(file.read().split(") ")[0].split(" ", 1)[1], "(a name (of it)", "its name")
        found = os.waitid(os.P_PID, self.stranger, os.WEXITED | os.WNOHANG)
        equal((found.si_uid, found.si_status, found.si_code), (1001, 3, os.CLD_EXITED), "the one of another user")
        for pid, status in zip(self.pids, STATUSES):
            equal(os.waitpid(pid, os.WNOHANG), (pid, status), "how it ended")
        try:
            equal(os.waitpid(-1, os.WNOHANG), None, "one more")
        except ChildProcessError:
            pass
        self.make()


run(Victim())
