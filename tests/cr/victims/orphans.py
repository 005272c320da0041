"""Daemons and other orphans, groups and sessions whose leaders are gone, adopted children of a subreaper."""
import ctypes
import os
import signal
import time

from victim import equal, must, run

PLACE = "/srv/orphans"
PR_SET_CHILD_SUBREAPER = 36


def ids(pid):
    with open(f"/proc/{pid}/stat") as file:
        return tuple(map(int, file.read().rsplit(") ", 1)[1].split()[1:4]))


def stay(name):
    with open(f"{PLACE}/{name}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{PLACE}/{name}.new", f"{PLACE}/{name}")
    while True:
        signal.pause()


def child(action, *args):
    pid = os.fork()
    if pid == 0:
        action(*args)
        os._exit(0)
    return pid


def orphan(name):
    child(stay, name)


def daemon(name):
    os.setsid()
    child(stay, name)


def leading_daemon(name):
    child(lambda: (os.setsid(), stay(name)))


def lone_group(first, second):
    os.setpgid(0, 0)
    child(stay, first)
    child(stay, second)


def late_session(name, earlier):
    child(stay, earlier)
    os.setsid()
    stay(name)


def moved_leader(name, member):
    os.setpgid(0, 0)
    child(stay, member)
    pid = read(member)
    must(pid > 0, "it is there")
    os.setpgid(0, os.getpgid(os.getppid()))
    stay(name)


def reaper(name, orphaned, in_session):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.waitpid(child(orphan, orphaned), 0)
    os.waitpid(child(daemon, in_session), 0)
    stay(name)


def read(name):
    deadline = time.monotonic() + 10
    while not os.path.exists(f"{PLACE}/{name}"):
        must(time.monotonic() < deadline, f"{name} does not come")
        time.sleep(0.002)
    with open(f"{PLACE}/{name}") as file:
        return int(file.read())


NAMES = ["orphan", "daemon", "leading", "group-1", "group-2", "late", "earlier", "moved", "member", "reaper",
         "adopted", "adopted-daemon"]


class Victim:
    def set_up(self):
        os.makedirs(PLACE)
        for action, names in ((orphan, ["orphan"]), (daemon, ["daemon"]), (leading_daemon, ["leading"]),
                              (lone_group, ["group-1", "group-2"])):
            os.waitpid(child(action, *names), 0)
        child(late_session, "late", "earlier")
        child(moved_leader, "moved", "member")
        child(reaper, "reaper", "adopted", "adopted-daemon")
        self.pids = {name: read(name) for name in NAMES}
        self.state = self.look()
        equal(self.state["orphan"][0], 1, "the parent of the orphan")
        equal(self.state["adopted"][0], self.pids["reaper"], "the parent of the adopted")

    def look(self):
        return {name: ids(pid) for name, pid in self.pids.items()}

    def change(self):
        for name in ("orphan", "daemon", "group-1", "member", "adopted"):
            os.kill(self.pids[name], signal.SIGKILL)
        os.setpgid(self.pids["moved"], self.pids["moved"])

    def verify(self):
        equal(self.look(), self.state, "parents, groups and sessions")
        # whom the reaper loses it still adopts
        mine = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if ids(pid)[0] == os.getpid()]
        equal(len(mine), 3, "the children")
        for pid in self.pids.values():
            os.kill(pid, 0)
        for pid in mine:
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
        # that a child goes on refuses a checkpoint until it was told
        while os.waitid(os.P_ALL, 0, os.WCONTINUED | os.WNOHANG):
            pass


run(Victim())
