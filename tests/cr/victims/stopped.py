"""Stopped children: one that its parent knows of, one that it has not waited for, one with threads; they go on when told."""
import os
import signal
import threading
import time

from victim import equal, must, run

PLACE = "/srv/stopped"


def work(name, threads):
    for _ in range(threads):
        threading.Thread(target=time.sleep, args=(10_000,), daemon=True).start()
    signal.signal(signal.SIGUSR1, lambda *_: open(f"{PLACE}/{name}", "w").close())
    open(f"{PLACE}/{name}", "w").close()
    while True:
        time.sleep(0.01)


def await_file(name):
    deadline = time.monotonic() + 10
    while not os.path.exists(f"{PLACE}/{name}"):
        must(time.monotonic() < deadline, f"{name} does not go on")
        time.sleep(0.002)
    os.unlink(f"{PLACE}/{name}")


def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(") ", 1)[1][0]


def await_state(pid, wanted):
    deadline = time.monotonic() + 10
    while state(pid) != wanted:
        must(time.monotonic() < deadline, f"process {pid} is not in state {wanted} but {state(pid)}")
        time.sleep(0.002)


class Victim:
    def set_up(self):
        os.makedirs(PLACE)
        self.signals = 0
        signal.signal(signal.SIGCHLD, self.count)
        self.pids = {name: self.fork(name, threads) for name, threads in (("known", 0), ("news", 0), ("many", 5))}
        self.stop()

    def fork(self, name, threads):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)  # a group without a shell above it is not stopped by a terminal's signals
            work(name, threads)
        await_file(name)
        return pid

    def count(self, *_):
        self.signals += 1

    def stop(self):
        # that one has stopped can be waited for before its parent is signalled
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for name, number in (("known", signal.SIGTSTP), ("news", signal.SIGTTIN), ("many", signal.SIGSTOP)):
            os.kill(self.pids[name], number)
            signal.sigwait({signal.SIGCHLD})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for name in ("known", "many"):
            os.waitid(os.P_PID, self.pids[name], os.WSTOPPED)
        self.signals = 0

    def change(self):
        os.kill(self.pids["known"], signal.SIGCONT)
        os.kill(self.pids["news"], signal.SIGKILL)
        os.waitpid(self.pids["news"], 0)

    def verify(self):
        for pid in self.pids.values():
            await_state(pid, "T")
        equal(self.signals, 0, "the signals for them")
        equal(os.waitid(os.P_PID, self.pids["known"], os.WSTOPPED | os.WNOHANG), None, "the one that is known")
        equal(os.waitid(os.P_PID, self.pids["many"], os.WSTOPPED | os.WNOHANG), None, "the one with threads")
        found = os.waitid(os.P_PID, self.pids["news"], os.WSTOPPED | os.WNOHANG)
        equal((found.si_status, found.si_code), (signal.SIGTTIN, os.CLD_STOPPED), "the news")
        for name, pid in self.pids.items():
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.01)
            must(not os.path.exists(f"{PLACE}/{name}"), f"{name} is not stopped")
            os.kill(pid, signal.SIGCONT)
            await_file(name)
        self.stop()


run(Victim())
