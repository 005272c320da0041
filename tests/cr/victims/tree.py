"""Thirty processes three deep, each with memory of its own, that tell by files what they are when they are signalled."""
import os
import signal
import time

from victim import equal, must, run

WIDTHS = (2, 2, 6)
PLACE = "/srv/tree"


class Node:
    def __init__(self, name, depth):
        self.count = 0
        self.name = name
        self.text = name * 1000
        self.children = []
        for i in range(WIDTHS[depth] if depth < len(WIDTHS) else 0):
            self.children.append(born(f"{name}.{i}", depth + 1))

    def tell(self):
        lines = [os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0), self.count, self.text == self.name * 1000]
        with open(f"{PLACE}/{self.name}.new", "w") as file:
            file.write(" ".join(map(str, lines)) + "\n" + " ".join(map(str, self.children)))
        os.rename(f"{PLACE}/{self.name}.new", f"{PLACE}/{self.name}")

    def change(self):
        self.count += 1
        self.text = self.text[::-1] + "x"


def born(name, depth):
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    node = Node(name, depth)
    node.tell()
    actions = {signal.SIGUSR1: node.tell, signal.SIGUSR2: node.change}
    while True:
        actions[signal.sigwait(actions)]()


def told(name):
    deadline = time.monotonic() + 20
    while not os.path.exists(f"{PLACE}/{name}"):
        must(time.monotonic() < deadline, f"{name} does not answer")
        time.sleep(0.002)
    with open(f"{PLACE}/{name}") as file:
        first, second = file.read().split("\n")
    os.unlink(f"{PLACE}/{name}")
    return first, list(map(int, second.split()))


class Victim:
    def set_up(self):
        os.makedirs(PLACE)
        self.top = [born(str(i), 1) for i in range(WIDTHS[0])]
        self.state = self.look(ask=False)
        equal(len(self.state), 30, "the processes")

    def look(self, ask):
        state = {}
        waiting = [(str(i), pid) for i, pid in enumerate(self.top)]
        while waiting:
            name, pid = waiting.pop()
            if ask:
                os.kill(pid, signal.SIGUSR1)
            first, children = told(name)
            state[name] = (pid, first, children)
            waiting += [(f"{name}.{i}", child) for i, child in enumerate(children)]
        return state

    def change(self):
        for pid, _, children in self.state.values():
            os.kill(pid, signal.SIGUSR2 if children else signal.SIGKILL)
        os.kill(self.top[0], signal.SIGKILL)
        os.waitpid(self.top[0], 0)

    def verify(self):
        equal(self.look(ask=True), self.state, "the tree")
        for pid, line, _ in self.state.values():
            equal(line.split()[0], str(pid), "a pid")
        equal(os.waitpid(-1, os.WNOHANG), (0, 0), "what has ended")


run(Victim())
