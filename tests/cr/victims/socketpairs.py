"""Pairs of unix sockets: what waits in them, how messages are cut, which ends are shut or gone, and their options."""
import os
import socket
import struct

from victim import equal, run

PAIR = socket.AF_UNIX


def waiting(end):
    got = []
    while True:
        try:
            got.append(end.recv(1 << 16, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return got
        if not got[-1]:
            return got


class Victim:
    def set_up(self):
        self.stream = socket.socketpair(PAIR, socket.SOCK_STREAM)
        self.packets = socket.socketpair(PAIR, socket.SOCK_SEQPACKET)
        self.messages = socket.socketpair(PAIR, socket.SOCK_DGRAM)
        self.half = socket.socketpair(PAIR, socket.SOCK_STREAM)
        self.alone, other = socket.socketpair(PAIR, socket.SOCK_STREAM)
        self.stream[0].sendall(b"a" * 70000)
        self.stream[0].sendall(b"b" * 30000)
        self.stream[1].sendall(b"back")
        self.packets[0].send(b"one")
        self.packets[0].send(b"two and more")
        self.messages[1].send(b"first")
        self.messages[1].send(b"second")
        self.half[0].sendall(b"last")
        self.half[0].shutdown(socket.SHUT_WR)
        other.sendall(b"farewell")
        other.close()
        self.stream[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
        self.buffer = self.stream[1].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.stream[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 3, 0))
        self.packets[1].setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        self.messages[0].setblocking(False)
        self.copy = os.dup(self.messages[0].fileno())

    def take(self):
        return [
            b"".join(waiting(self.stream[1])),
            b"".join(waiting(self.stream[0])),
            waiting(self.packets[1]),
            waiting(self.messages[0]),
            waiting(self.half[1]),
            waiting(self.alone),
        ]

    def put_back(self):
        self.stream[0].sendall(b"a" * 70000 + b"b" * 30000)
        self.stream[1].sendall(b"back")
        self.packets[0].send(b"one")
        self.packets[0].send(b"two and more")
        self.messages[1].send(b"first")
        self.messages[1].send(b"second")

    def change(self):
        self.take()
        self.stream[1].close()
        self.messages[1].send(b"other")
        self.packets[0].close()

    def verify(self):
        for end in (*self.stream, *self.packets, *self.messages, *self.half):
            peer = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            equal(peer, (os.getpid(), os.getuid(), os.getgid()), "who made it")
        equal(self.stream[1].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), self.buffer, "the buffer")
        timeout = self.stream[1].getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        equal(struct.unpack("qq", timeout), (3, 0), "the time limit")
        equal(os.get_blocking(self.copy), False, "the flag of the copy")
        equal(os.get_blocking(self.messages[1].fileno()), True, "the flag of the other end")
        got = self.take()
        equal(got[0], b"a" * 70000 + b"b" * 30000, "the stream")
        equal(got[1], b"back", "the stream back")
        equal(got[2], [b"one", b"two and more"], "the packets")
        equal(got[3], [b"first", b"second"], "the messages")
        if not hasattr(self, "verified"):
            equal(got[4], [b"last", b""], "the half shut one")
            equal(got[5], [b"farewell", b""], "the end that is alone")
            self.verified = True
        self.half[1].sendall(b"still")
        equal(self.half[0].recv(9), b"still", "the way that is open")
        try:
            self.alone.send(b"x")
        except BrokenPipeError:
            pass
        else:
            raise AssertionError("the end that is alone took something")
        self.put_back()


run(Victim())
