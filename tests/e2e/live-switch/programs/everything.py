"""everything.py quiet|busy: has some of all that a checkpoint moves: files, directories, mappings, locks, places, watches,
sockets, threads and children. `busy` uses it all the time, `quiet` waits. On SIGTERM both look whether all of it is
as it should be, and say so.
"""
import ctypes
import fcntl
import mmap
import os
import signal
import socket
import struct
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
RANGE = struct.Struct("hhxxxxqqi4x")
F_OFD_SETLK = 37
IN_MODIFY, IN_CREATE = 2, 0x100


def must(condition, what):
    if not condition:
        raise AssertionError(what)


def refused(call, *args):
    try:
        call(*args)
    except OSError:
        return True
    return False


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def child(work):
    """A process that does its work when it is told to go on. Returns its pid and how to tell it."""
    wait, go_on = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go_on)
            work(lambda: os.read(wait, 1))
            os._exit(0)
        except BaseException as error:
            os.write(2, f"child: {error!r}\n".encode())
        os._exit(1)
    os.close(wait)
    return pid, lambda: os.write(go_on, b"x")


class Everything:
    def __init__(self):
        self.home = os.path.join("/srv", sys.argv[1])
        os.makedirs(self.home + "/cwd/deep")
        os.chdir(self.home + "/cwd/deep")
        self.rounds = 0
        self.open_files()
        self.open_directories()
        self.map_files()
        self.take_locks()
        self.listen()
        self.watch()
        self.start_others()

    def path(self, name):
        return os.path.join(self.home, name)

    def open_files(self):
        create = os.O_RDWR | os.O_CREAT
        self.log = os.open(self.path("log"), create | os.O_APPEND)
        self.record = os.open(self.path("record"), create)
        os.write(self.record, b"0123456789")
        os.lseek(self.record, 5, 0)
        self.deleted = os.open(self.path("deleted"), create)
        os.unlink(self.path("deleted"))
        write_file(self.path("deleted"), b"another")
        self.renamed = os.open(self.path("old-name"), create)
        os.rename(self.path("old-name"), self.path("new-name"))
        self.nameless = os.open(self.home, os.O_TMPFILE | os.O_RDWR)
        self.base = os.open("/etc/services", os.O_RDONLY)
        self.services = os.pread(self.base, 1 << 20, 0)

    def open_directories(self):
        os.mkdir(self.path("many"))
        for i in range(300):
            write_file(self.path(f"many/{i}"), b"")
        self.many = os.open(self.path("many"), os.O_RDONLY | os.O_DIRECTORY)
        self.seen = self.entries()
        os.mkdir(self.path("removed"))
        self.removed = os.open(self.path("removed"), os.O_RDONLY)
        os.rmdir(self.path("removed"))

    def entries(self):
        buffer = ctypes.create_string_buffer(2048)
        got = LIBC.syscall(217, self.many, buffer, 2048)
        names, at = [], 0
        while at < got:
            length = struct.unpack_from("<H", buffer, at + 16)[0]
            names.append(buffer.raw[at + 19:at + length].split(b"\0")[0].decode())
            at += length
        return names

    def map_files(self):
        write_file(self.path("memory"), bytes(8192))
        self.memory_fd = os.open(self.path("memory"), os.O_RDWR)
        self.memory = mmap.mmap(self.memory_fd, 8192)
        self.view = mmap.mmap(os.open(self.path("memory"), os.O_RDONLY), 8192, prot=mmap.PROT_READ)
        self.private = mmap.mmap(self.memory_fd, 8192, access=mmap.ACCESS_COPY)
        self.private[0:7] = b"private"

    def take_locks(self):
        self.locks = [os.open(self.path(f"lock-{i}"), os.O_RDWR | os.O_CREAT) for i in range(3)]
        fcntl.flock(self.locks[0], fcntl.LOCK_EX)
        fcntl.lockf(self.locks[1], fcntl.LOCK_EX, 10, 5)
        fcntl.fcntl(self.locks[2], F_OFD_SETLK, RANGE.pack(fcntl.F_WRLCK, 0, 5, 10, 0))

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path("listener"))
        self.listener.listen()
        os.mkfifo(self.path("fifo"))
        self.fifo = os.open(self.path("fifo"), os.O_RDWR)

    def watch(self):
        os.mkdir(self.path("watched"))
        self.notes = LIBC.inotify_init1(0o4000)
        self.wd = LIBC.inotify_add_watch(self.notes, self.path("watched").encode(), IN_CREATE)

    def start_others(self):
        def wait_for_lock(_):
            fcntl.flock(os.open(self.path("lock-0"), os.O_RDWR), fcntl.LOCK_EX)
            write_file(self.path("got-lock"), b"x")

        def stay_in_root(go_on):
            os.makedirs(self.path("root/inside"))
            os.chroot(self.path("root"))
            os.chdir("/inside")
            go_on()
            write_file("/from-root", os.getcwd().encode())
            write_file("from-cwd", b"x")

        def stop(_):
            fd = os.open(self.path("of-stopped"), os.O_RDWR | os.O_CREAT)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.write(fd, b"went on")

        self.waiter, _ = child(wait_for_lock)
        self.rooted, self.release_rooted = child(stay_in_root)
        self.stopped, _ = child(stop)
        os.waitpid(self.stopped, os.WUNTRACED)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.ended.wait, daemon=True)
        self.thread.start()

    def use(self):
        self.rounds += 1
        text = b"%d\n" % self.rounds
        os.write(self.log, text)
        for fd in self.deleted, self.renamed, self.nameless:
            os.pwrite(fd, text, 0)
        os.write(self.record, b".")
        os.lseek(self.record, -1, 1)
        self.memory[4096:4096 + len(text)] = text
        self.check()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path("listener"))
            server, _ = self.listener.accept()
            with server:
                client.send(text)
                must(server.recv(99) == text, "what the server got")
        with open(self.path("fifo"), "wb", 0) as fifo:
            fifo.write(text)
        must(os.read(self.fifo, 99) == text, "what came through the FIFO")
        if self.rounds % 10 == 0:  # events that are unread at every moment would be in a checkpoint's way
            self.use_watch()

    def use_watch(self):
        write_file(self.path("watched/%d" % self.rounds), b"")
        wd, mask, _, length = struct.unpack_from("iIII", note := os.read(self.notes, 4096))
        must((wd, mask) == (self.wd, IN_CREATE), "the note of a new file")
        must(note[16:16 + length].rstrip(b"\0") == b"%d" % self.rounds and len(note) == 16 + length, "its name")

    def check(self):
        text = b"%d\n" % self.rounds if self.rounds else b""
        for fd, name in (self.deleted, "deleted"), (self.renamed, "renamed"), (self.nameless, "nameless"):
            must(os.pread(fd, 99, 0) == text, name)
        must(read_file(self.path("new-name")) == text, "the new name")
        must(not os.path.exists(self.path("old-name")), "the old name")
        must(read_file(self.path("deleted")) == b"another", "who took the name of the deleted")
        must(os.lseek(self.record, 0, 1) == 5, "the offset")
        must(os.pread(self.record, 99, 0) == (b"01234.6789" if self.rounds else b"0123456789"), "the record")
        must(os.pread(self.base, 1 << 20, 0) == self.services, "the file of the base")
        must(self.view[4096:4096 + len(text)] == text, "what is only read")
        must(os.pread(self.memory_fd, len(text), 4096) == text, "what the memory's file has")
        must(self.private[0:7] == b"private" and self.memory[0:7] == bytes(7), "the private memory")
        must(os.getcwd() == self.home + "/cwd/deep", "the working directory")
        must(os.listdir(self.removed) == [], "the removed directory")
        self.check_locks()

    def check_locks(self):
        other = os.open(self.path("lock-0"), os.O_RDWR)
        must(refused(fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB), "the flock")
        os.close(other)
        other = os.open(self.path("lock-2"), os.O_RDWR)
        must(refused(fcntl.fcntl, other, F_OFD_SETLK, RANGE.pack(fcntl.F_WRLCK, 0, 14, 1, 0)), "the OFD lock")
        os.close(other)
        asked = fcntl.fcntl(self.locks[1], fcntl.F_GETLK, RANGE.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
        must(RANGE.unpack(asked)[0] == fcntl.F_UNLCK, "one's own POSIX lock is in nobody's way")
        must(not os.path.exists(self.path("got-lock")), "who waits for the lock")

    def posix_lock_is_held(self):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if refused(fcntl.lockf, self.locks[1], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14) else 1)
        return os.waitpid(pid, 0)[1] == 0

    def end(self):
        self.check()
        must(read_file(self.path("log")) == b"".join(b"%d\n" % i for i in range(1, self.rounds + 1)), "the log")
        must(self.posix_lock_is_held(), "the POSIX lock")
        while some := self.entries():
            self.seen += some
        must(sorted(self.seen) == sorted([".", ".."] + [str(i) for i in range(300)]), "the entries of the directory")
        fcntl.flock(self.locks[0], fcntl.LOCK_UN)
        self.release_rooted()
        os.kill(self.stopped, signal.SIGCONT)
        for pid in self.waiter, self.rooted, self.stopped:
            must(os.waitpid(pid, 0)[1] == 0, "a child")
        must(read_file(self.path("root/from-root")) == b"/inside", "the place in a root of its own")
        must(os.path.exists(self.path("root/inside/from-cwd")), "its working directory")
        must(read_file(self.path("of-stopped")) == b"went on", "who was stopped")
        self.ended.set()
        self.thread.join()


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    everything = Everything()
    print("ready", flush=True)
    if sys.argv[1] == "busy":
        while signal.SIGTERM not in signal.sigpending():
            everything.use()
    signal.sigwait({signal.SIGTERM})
    everything.end()
    print("all is as it should be", flush=True)


main()
