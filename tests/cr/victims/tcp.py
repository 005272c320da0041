"""TCP connections within the sandbox: what is on its way in them, which ends are shut or gone, options, who waits."""
import errno
import os
import socket
import struct

from victim import equal, run

HERE = "127.0.0.1"


def everything(end):
    end.settimeout(20)
    got = []
    while piece := end.recv(1 << 20):
        got.append(piece)
    return b"".join(got)


def exactly(end, count):
    end.settimeout(20)
    got = b""
    while len(got) < count:
        piece = end.recv(count - len(got))
        if not piece:
            break
        got += piece
    return got


def pattern(count):
    return bytes(range(251)) * (count // 251 + 1)


class Victim:
    def set_up(self):
        self.server = socket.create_server((HERE, 8080))
        self.six = socket.create_server(("::", 9090), family=socket.AF_INET6, dualstack_ipv6=True)
        self.queue = socket.create_server((HERE, 7070), backlog=9)
        self.pairs = [
            self.connect(self.server, (HERE, 8080)),
            self.connect(self.six, ("::1", 9090), socket.AF_INET6),
            self.connect(self.six, (HERE, 9090)),
        ]
        self.names = [(a.getsockname(), a.getpeername(), b.getsockname()) for a, b in self.pairs]
        for client, accepted in self.pairs:
            client.sendall(b"question")
            accepted.sendall(b"answer")
        client = self.pairs[0][0]
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
        self.buffer = client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        client.setblocking(False)
        self.full = self.connect(self.server, (HERE, 8080))
        self.fill()
        self.once()
        self.wait()

    def connect(self, server, address, family=socket.AF_INET):
        client = socket.socket(family)
        client.connect(address)
        return client, server.accept()[0]

    def fill(self):
        """More than the other end has room for."""
        self.full[0].setblocking(False)
        self.filled = 0
        try:
            while True:
                self.filled += self.full[0].send(pattern(1 << 20))
        except BlockingIOError:
            pass

    def once(self):
        """What can be looked at only once."""
        self.half = self.connect(self.server, (HERE, 8080))
        self.half[0].sendall(b"last")
        self.half[0].shutdown(socket.SHUT_WR)
        self.left, other = self.connect(self.server, (HERE, 8080))
        other.sendall(b"farewell")
        other.close()
        other, self.served = self.connect(self.server, (HERE, 8080))
        other.sendall(b"bye")
        other.close()
        self.over, other = self.connect(self.server, (HERE, 8080))
        other.sendall(b"the end")
        self.over.shutdown(socket.SHUT_WR)
        other.recv(9)
        other.close()
        self.deaf = self.connect(self.server, (HERE, 8080))
        self.deaf[0].shutdown(socket.SHUT_RD)
        self.refused = socket.socket()
        equal(self.refused.connect_ex((HERE, 1)), errno.ECONNREFUSED, "nobody listens")
        self.full_half = self.connect(self.server, (HERE, 8080))
        self.full_half[0].sendall(pattern(1 << 20)[:60000])
        self.full_half[0].shutdown(socket.SHUT_WR)

    def wait(self):
        self.waiting = [socket.socket() for _ in range(2)]
        for client in self.waiting:
            self.queue.listen(9)
            client.connect((HERE, 7070))
            self.queue.listen(0)

    def change(self):
        for client, accepted in self.pairs:
            accepted.recv(99)
            accepted.close()
            client.setblocking(True)
            client.recv(99)
            client.close()
        self.half[1].close()
        self.full[1].recv(100000)
        self.full[0].close()
        self.left.close()
        for client in self.waiting:
            client.close()
        self.server.close()
        self.taken = socket.create_server((HERE, 8080))

    def check_pairs(self):
        names = [(a.getsockname(), a.getpeername(), b.getsockname()) for a, b in self.pairs]
        equal(names, self.names, "the names")
        client = self.pairs[0][0]
        equal(os.get_blocking(client.fileno()), False, "the flag")
        equal(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1, "an option")
        equal(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 77, "the time idle")
        equal(client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), self.buffer, "the buffer")
        linger = client.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        equal(struct.unpack("ii", linger), (1, 3), "the time to linger")
        for client, accepted in self.pairs:
            client.setblocking(True)
            equal(exactly(accepted, 8), b"question", "what the server had not read")
            equal(exactly(client, 6), b"answer", "what the client had not read")
            client.sendall(b"question")
            accepted.sendall(b"answer")
        self.pairs[0][0].setblocking(False)

    def check_full(self):
        got = exactly(self.full[1], self.filled)
        equal(len(got), self.filled, "how much came")
        self.full[1].setblocking(False)
        try:
            self.full[1].recv(1)
        except BlockingIOError:
            pass
        else:
            raise AssertionError("more came than was sent")
        self.full[1].setblocking(True)
        self.fill()

    def check_once(self):
        equal(everything(self.half[1]), b"last", "the half shut one")
        self.half[1].sendall(b"still")
        equal(self.half[0].recv(9), b"still", "the way that is open")
        equal(everything(self.left), b"farewell", "the one that was left")
        equal(everything(self.served), b"bye", "the one whose client is gone")
        equal(everything(self.over), b"the end", "the one that is over")
        try:
            self.over.send(b"x")
        except BrokenPipeError:
            pass
        else:
            raise AssertionError("one that is over took something")
        equal(self.deaf[0].recv(9), b"", "the one that does not hear")
        self.deaf[0].sendall(b"speaks")
        equal(self.deaf[1].recv(9), b"speaks", "what it says")
        equal(everything(self.full_half[1]), pattern(1 << 20)[:60000], "what came before the end")
        self.refused.connect((HERE, 8080))
        self.server.accept()[0].close()
        self.refused.close()
        self.left.sendall(b"x")
        for end in (*self.half, *self.deaf, *self.full_half, self.left, self.served, self.over):
            end.close()
        self.once()

    def check_waiting(self):
        for number, client in enumerate(self.waiting):
            accepted, name = self.queue.accept()
            equal(name, client.getsockname(), "who comes next")
            client.sendall(b"%d" % number)
            equal(accepted.recv(9), b"%d" % number, "what it says")
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
        self.wait()

    def verify(self):
        self.check_pairs()
        self.check_full()
        self.check_once()
        self.check_waiting()
        client, accepted = self.connect(self.server, (HERE, 8080))
        client.sendall(b"new")
        equal(accepted.recv(9), b"new", "what a new one says")


run(Victim())
