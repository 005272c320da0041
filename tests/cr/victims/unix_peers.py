"""Connections between processes, of which one has another user and some have ended: each end is told who the other is."""
import os
import socket
import struct

from victim import equal, run

USER, GROUP = 1234, 2345


def who(end):
    return struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))


def serve(server, ready):
    """Answers with what it is told of who asks."""
    os.setgid(GROUP)
    os.setuid(USER)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0peers")
    listener.listen()
    os.write(ready, b"x")
    clients = {listener: None}
    import select

    while True:
        for end in select.select(list(clients), [], [])[0]:
            if end is listener:
                clients[listener.accept()[0]] = None
            elif not (asked := end.recv(99)):
                del clients[end]
            else:
                end.send(asked + b" %d %d %d" % who(end))


class Victim:
    def set_up(self):
        self.pair, theirs = socket.socketpair()
        ready = os.pipe()
        self.server = os.fork()
        if self.server == 0:
            self.pair.close()
            serve(theirs, ready[1])
        os.read(ready[0], 1)
        self.theirs = theirs
        self.client = socket.socket(socket.AF_UNIX)
        self.client.connect("\0peers")
        self.ended = self.inherit()

    def inherit(self):
        """A connection that was made by a process that has ended."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            client = socket.socket(socket.AF_UNIX)
            client.connect("\0peers")
            client.send(b"made")
            client.recv(99)
            socket.send_fds(theirs, [b"x"], [client.fileno()])
            os._exit(0)
        _, fds, _, _ = socket.recv_fds(ours, 9, 1)
        os.waitpid(pid, 0)
        self.ended_pid = pid
        return socket.socket(fileno=fds[0])

    def change(self):
        self.client.close()
        self.ended.send(b"a question whose answer is not read")
        os.kill(self.server, 9)
        os.waitpid(self.server, 0)

    def ask(self, end, pid):
        end.send(b"who")
        equal(end.recv(99), b"who %d 0 0" % pid, "whom the server sees")
        equal(who(end), (self.server, USER, GROUP), "whom the client sees")

    def verify(self):
        self.ask(self.client, os.getpid())
        self.ask(self.ended, self.ended_pid)
        equal(who(self.pair), (os.getpid(), 0, 0), "who made the pair")


run(Victim())
