"""Sockets that listen, or are bound, or not yet in use: their names, backlog and options."""
import os
import socket
import struct

from victim import equal, run


class Victim:
    def set_up(self):
        self.four = socket.create_server(("127.0.0.1", 8080), backlog=7)
        self.six = socket.create_server(("::", 9090), family=socket.AF_INET6, dualstack_ipv6=True)
        self.shared = [socket.create_server(("127.0.0.1", 7070), reuse_port=True) for _ in range(2)]
        self.any = socket.create_server(("0.0.0.0", 0))
        self.port = self.any.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", 5353))
        self.datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 30000)
        self.buffer = self.datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.unused = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.unused.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unused.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        self.four.setblocking(False)

    def change(self):
        self.four.close()
        self.datagrams.close()
        self.any.close()
        self.taken = socket.create_server(("127.0.0.1", 8080))
        self.unused.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def talk(self, server, address, family=socket.AF_INET):
        server.setblocking(True)
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connect(address)
            accepted, _ = server.accept()
            client.sendall(b"hello")
            equal(accepted.recv(9), b"hello", f"what came by {address}")
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()

    def verify(self):
        equal(os.get_blocking(self.four.fileno()), False, "the flag")
        info = self.four.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        equal(struct.unpack_from("I", info, 28)[0], 7, "the backlog")
        equal(self.any.getsockname(), ("0.0.0.0", self.port), "the port")
        self.talk(self.four, ("127.0.0.1", 8080))
        self.four.setblocking(False)
        self.talk(self.six, ("127.0.0.1", 9090))
        self.talk(self.six, ("::1", 9090), socket.AF_INET6)
        equal(self.shared[1].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), 1, "the shared port")
        equal(self.datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), self.buffer, "the buffer")
        equal(self.datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST), 1, "an option")
        self.datagrams.sendto(b"self", ("127.0.0.1", 5353))
        equal(self.datagrams.recvfrom(9), (b"self", ("127.0.0.1", 5353)), "a datagram")
        equal(self.unused.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1, "an option of TCP")
        linger = self.unused.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        equal(struct.unpack("ii", linger), (1, 5), "the time to linger")


run(Victim())
