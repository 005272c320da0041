"""Unix sockets with names: files that lie where they were bound, were renamed or taken away, and abstract names."""
import os
import socket
import stat
import struct

from victim import equal, run

UNIX = socket.AF_UNIX
ME = (os.getpid(), os.getuid(), os.getgid())


def who(end):
    return struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))


def bound(name, kind=socket.SOCK_STREAM):
    made = socket.socket(UNIX, kind)
    made.bind(name)
    return made


def talk(server, name):
    server.setblocking(True)
    with socket.socket(UNIX, server.type) as client:
        client.connect(name)
        accepted, _ = server.accept()
        client.send(b"hello")
        equal(accepted.recv(9), b"hello", f"what came by {name}")
        equal(who(client), ME, f"who listens at {name}")
        accepted.close()


class Victim:
    def set_up(self):
        os.makedirs("/root/sockets/deep", exist_ok=True)
        os.chdir("/root/sockets")
        self.listeners = {
            "/root/sockets/plain": bound("/root/sockets/plain"),
            "relative": bound("relative"),
            "deep/../up": bound("deep/../up"),
            "\0abstract": bound("\0abstract"),
            "/root/sockets/packets": bound("/root/sockets/packets", socket.SOCK_SEQPACKET),
        }
        for listener in self.listeners.values():
            listener.listen(5)
        self.listeners["relative"].setblocking(False)
        os.chmod("plain", 0o640)
        os.chown("plain", 7, 8)
        os.utime("plain", (1000, 2000))
        self.moved = bound("old")
        self.moved.listen()
        os.rename("old", "deep/new")
        self.gone = bound("/root/sockets/gone")
        self.gone.listen()
        os.unlink("gone")
        self.kept = [self.connect("/root/sockets/plain"), self.connect("\0abstract")]
        self.kept.append(self.connect("/root/sockets/packets", socket.SOCK_SEQPACKET))
        self.named = socket.socket(UNIX)
        self.named.bind("client")
        self.named.connect("/root/sockets/plain")
        self.kept.append((self.named, self.listeners["/root/sockets/plain"].accept()[0]))
        for client, accepted in self.kept:
            client.send(b"question")
            accepted.send(b"answer")
        self.alone = self.connect("/root/sockets/plain")[1]
        self.reset = self.connect("/root/sockets/plain", unread=True)[0]
        self.waiting = [socket.socket(UNIX) for _ in range(2)]
        for client in self.waiting:
            client.connect("relative")
        self.waiting[1].shutdown(socket.SHUT_WR)
        self.listeners["relative"].listen(0)
        self.unlistened = bound("bound")
        self.fresh = socket.socket(UNIX, socket.SOCK_STREAM)

    def connect(self, name, kind=socket.SOCK_STREAM, unread=False):
        client = socket.socket(UNIX, kind)
        client.connect(name)
        accepted, _ = self.listeners[name].accept()
        if unread:
            client.send(b"never read")
            accepted.close()
        return client, accepted

    def change(self):
        for listener in self.listeners.values():
            listener.close()
        for client, accepted in self.kept:
            client.recv(99)
            accepted.close()
        os.unlink("plain")
        os.unlink("deep/new")
        self.taken = bound("\0abstract")
        with open("plain", "w") as file:
            file.write("a file")
        self.waiting[0].close()
        self.fresh.bind("was fresh")

    def check_file(self):
        look = os.lstat("plain")
        if stat.S_ISSOCK(look.st_mode):
            equal((look.st_mode & 0o7777, look.st_uid, look.st_gid), (0o640, 7, 8), "the file's looks")
            equal(look.st_mtime, 2000, "the file's time")
        equal(os.path.exists("gone"), False, "the file that was removed")
        equal(sorted(os.listdir(".")),
              ["bound", "client", "deep", "packets", "plain", "relative", "up"], "what lies there")
        equal([name for name in os.listdir("/") if "deltabox" in name], [], "what was left behind")

    def check_connections(self):
        for client, accepted in self.kept:
            equal((who(client), who(accepted)), (ME, ME), "who is connected")
            equal(client.recv(99), b"answer", "what the client had not read")
            equal(accepted.recv(99), b"question", "what the server had not read")
            client.send(b"question")
            accepted.send(b"answer")
        names = [(accepted.getsockname(), client.getpeername()) for client, accepted in self.kept]
        equal(names[0], ("/root/sockets/plain",) * 2, "the name of a connection")
        equal(names[1], (b"\0abstract",) * 2, "the abstract name of a connection")
        equal(self.kept[3][1].getpeername(), "client", "the name of a client")
        equal(self.alone.recv(9), b"", "the end that is alone")
        if not hasattr(self, "verified"):
            try:
                self.reset.recv(9)
            except ConnectionResetError:
                self.verified = True
            else:
                raise AssertionError("the connection that was reset is not")

    def check_waiting(self):
        server = self.listeners["relative"]
        equal(os.get_blocking(server.fileno()), False, "the flag")
        for number, client in enumerate(self.waiting):
            accepted, _ = server.accept()
            accepted.send(b"%d" % number)
            equal(client.recv(9), b"%d" % number, "who comes next")
            equal(who(accepted), ME, "who waited")
            if number == 1:
                equal(accepted.recv(9), b"", "what comes from the one that has shut its way")
            accepted.close()
        self.waiting = [socket.socket(UNIX) for _ in range(2)]
        for client in self.waiting:
            server.listen(5)
            client.connect("relative")
            server.listen(0)
        self.waiting[1].shutdown(socket.SHUT_WR)

    def verify(self):
        self.check_file()
        for name, listener in self.listeners.items():
            equal(listener.getsockname(), name.encode() if name[0] == "\0" else name, "a name")
            if name != "relative":
                talk(listener, name)
        talk(self.moved, "deep/new")
        equal(self.moved.getsockname(), "old", "the name from before")
        equal(self.gone.getsockname(), "/root/sockets/gone", "the name that is gone")
        equal(who(self.gone), ME, "who listens")
        equal(self.unlistened.getsockname(), "bound", "the name of one that does not listen")
        equal(self.fresh.getsockname(), "", "the one not yet in use")
        self.check_connections()
        self.check_waiting()


run(Victim())
