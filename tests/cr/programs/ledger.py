"""A number that is kept in many places. `add N` makes it one more, `tell N` only says it, or that the places differ.

In a variable, a thread, another process, a file, a mapped file, a memfd, the bytes of a pipe, memory that is shared, and
pages all over a block.
Beside it are processes that may be killed.
"""
import mmap
import os
import queue
import signal
import sys
import threading

PAGES = 2000
PAGE = 4096
SPARE = int(sys.argv[1])


def serve(reader, writer):
    """In another process."""
    count = 0
    while os.read(reader, 1) == b"+":
        count += 1
        os.write(writer, count.to_bytes(8, "little"))


def born(action):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        action()
        os._exit(0)
    return pid


def wait_for_ever():
    while True:
        signal.pause()


class Ledger:
    def __init__(self):
        self.count = 0
        asked, self.ask = os.pipe()
        self.answers, answer = os.pipe()
        born(lambda: serve(asked, answer))
        self.child = 0
        self.spare = [born(wait_for_ever) for _ in range(SPARE)]
        self.questions, self.replies = queue.Queue(), queue.Queue()
        self.thread_count = 0
        threading.Thread(target=self.run_thread, daemon=True).start()
        self.file = open("/srv/ledger", "w+b", buffering=0)
        self.pipe = os.pipe2(os.O_NONBLOCK)
        self.shared = mmap.mmap(-1, PAGE)
        self.memfd = os.memfd_create("ledger")
        mapped = os.open("/srv/ledger.mapped", os.O_RDWR | os.O_CREAT)
        os.ftruncate(mapped, PAGE)
        self.mapped = mmap.mmap(mapped, PAGE)
        self.block = bytearray(PAGES * PAGE)

    def run_thread(self):
        while self.questions.get():
            self.thread_count += 1
            self.replies.put(self.thread_count)

    def add(self):
        self.count += 1
        os.write(self.ask, b"+")
        self.child = int.from_bytes(os.read(self.answers, 8), "little")
        self.questions.put(True)
        self.replies.get()
        self.file.seek(0)
        self.file.write(b"%d" % self.count)
        os.write(self.pipe[1], b"x")
        self.shared[:8] = self.mapped[:8] = self.count.to_bytes(8, "little")
        os.pwrite(self.memfd, self.count.to_bytes(8, "little"), 0)
        for page in range(self.count % 7, PAGES, 7):
            self.block[page * PAGE] = self.count % 256

    def tell(self):
        self.file.seek(0)
        waiting = os.read(self.pipe[0], 65536) if self.count else b""
        os.write(self.pipe[1], waiting)
        places = {
            "variable": self.count,
            "process": self.child,
            "thread": self.thread_count,
            "file": int(self.file.read() or b"0"),
            "pipe": len(waiting),
            "shared memory": int.from_bytes(self.shared[:8], "little"),
            "mapped file": int.from_bytes(self.mapped[:8], "little"),
            "memfd": int.from_bytes(os.pread(self.memfd, 8, 0), "little"),
            "block": self.in_block(),
        }
        return str(self.count) if len(set(places.values())) == 1 else f"torn: {places}"

    def in_block(self):
        """The number, when each residue's pages hold the last number of that residue."""
        for last in range(self.count, max(self.count - 7, 0), -1):
            for page in range(last % 7, PAGES, 7):
                if self.block[page * PAGE] != last % 256:
                    return -1
        return self.count


ledger = Ledger()
for line in sys.stdin:
    question, number = line.split()
    if question == "add":
        ledger.add()
    print(number, ledger.tell(), flush=True)
