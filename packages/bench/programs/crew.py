"""Members that hold a number of megabytes each: threads, or processes that were forked of one another's parent. Told by lines on standard
input: `turn` lets each change some of its pages, `turns` tells how often all have done that.

usage: crew.py threads|processes COUNT MEGABYTES PAGES"""
import os
import queue
import sys
import threading

PAGE = 4096

kind = sys.argv[1]
count, megabytes, changed = map(int, sys.argv[2:])


class Member:
    def __init__(self):
        self.memory = bytearray(megabytes << 20)
        for page in range(0, len(self.memory), PAGE):
            self.memory[page] = 255
        self.turns = 0

    def act(self, action):
        if action == "turn":
            self.turns += 1
            for page in range(changed):
                self.memory[(self.turns * changed + page) * PAGE % len(self.memory)] = self.turns % 255
        return self.turns


class Thread:
    def __init__(self):
        self.questions, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()
        self.answers.get()

    def run(self):
        member = Member()
        self.answers.put("ready")
        while True:
            self.answers.put(member.act(self.questions.get()))

    def ask(self, action):
        self.questions.put(action)

    def answer(self):
        return self.answers.get()


class Process:
    def __init__(self):
        to_read, questions = os.pipe()
        answers, to_write = os.pipe()
        if os.fork() == 0:
            run(os.fdopen(to_read), os.fdopen(to_write, "w"))
            os._exit(0)
        self.questions, self.answers = os.fdopen(questions, "w"), os.fdopen(answers)
        self.answers.readline()

    def ask(self, action):
        print(action, file=self.questions, flush=True)

    def answer(self):
        return int(self.answers.readline())


def run(questions, answers):
    member = Member()
    print("ready", file=answers, flush=True)
    while line := questions.readline():
        print(member.act(line.strip()), file=answers, flush=True)


first = Member()
others = [{"threads": Thread, "processes": Process}[kind]() for _ in range(count - 1)]
print("ready", flush=True)
while line := sys.stdin.readline():
    action = line.strip()
    for other in others:
        other.ask(action)
    turns = {first.act(action), *(other.answer() for other in others)}
    if len(turns) != 1:
        sys.exit(f"the members have made {sorted(turns)} turns")
    print(turns.pop(), flush=True)
