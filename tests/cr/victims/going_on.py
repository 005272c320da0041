"""A child that was stopped and goes on, which its parent was not told of yet; another that its parent was told of."""
import os
import signal

from victim import equal, must, run


def born():
    reader, writer = os.pipe()
    answers, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        while os.read(reader, 1):
            os.write(answer, b"!")
        os._exit(0)
    return pid, writer, answers


def stop_and_go_on(pid):
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGCONT)


def news(pid, options=0):
    return os.waitid(os.P_PID, pid, os.WCONTINUED | os.WNOHANG | options)


def answers(writer, reader):
    os.write(writer, b"?")
    return os.read(reader, 1) == b"!"


class GoingOn:
    def set_up(self):
        self.told_of = []
        signal.signal(signal.SIGCHLD, lambda number, frame: self.told_of.append(number))
        self.child, *self.ends = born()
        self.other, *self.other_ends = born()
        stop_and_go_on(self.child)
        stop_and_go_on(self.other)
        while not news(self.other):
            pass
        must(answers(*self.ends) and answers(*self.other_ends), "they do not answer")
        self.told_of.clear()

    def change(self):
        must(news(self.child), "there was no news")
        os.kill(self.other, signal.SIGSTOP)
        os.waitpid(self.other, os.WUNTRACED)

    def verify(self):
        found = news(self.child, os.WNOWAIT)
        must(found, "there is no news of the child")
        equal((found.si_status, found.si_code), (signal.SIGCONT, os.CLD_CONTINUED), "what is told")
        equal(news(self.other, os.WNOWAIT), None, "news of the other")
        equal(os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG), None, "other news")
        equal(self.told_of, [], "signals that came")
        equal(signal.sigpending(), set(), "signals that wait")
        must(answers(*self.ends) and answers(*self.other_ends), "they do not answer")


run(GoingOn())
