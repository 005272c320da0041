"""Netlink sockets: their numbers, the groups they are told of, and that they are answered."""
import os
import socket
import struct

from victim import equal, must, run

ROUTE = 0
GET_LINK, DUMP, DONE = 18, 0x301, 3
SOL_NETLINK, ADD_MEMBERSHIP, LIST_MEMBERSHIPS, EXTENDED_ACK = 270, 1, 9, 11


class Victim:
    def set_up(self):
        self.bound = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)
        self.bound.bind((0, 1))
        self.bound.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, 5)
        self.bound.setsockopt(SOL_NETLINK, EXTENDED_ACK, 1)
        self.bound.setblocking(False)
        self.name = self.bound.getsockname()
        self.fresh = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, ROUTE)

    def change(self):
        self.bound.close()
        self.fresh.bind((self.name[0], 0))

    def verify(self):
        equal(self.bound.getsockname(), self.name, "the name")
        equal(self.name[0], os.getpid(), "the number")
        groups = struct.unpack("I", self.bound.getsockopt(SOL_NETLINK, LIST_MEMBERSHIPS, 64)[:4])[0]
        equal(groups, 1 | 1 << 4, "the groups")
        equal(self.bound.getsockopt(SOL_NETLINK, EXTENDED_ACK), 1, "an option")
        equal(os.get_blocking(self.bound.fileno()), False, "the flag")
        equal(self.fresh.getsockname(), (0, 0), "the one not yet in use")
        self.bound.send(struct.pack("IHHIIBxHiII", 32, GET_LINK, DUMP, 1, 0, 0, 0, 0, 0, 0))
        answer = b""
        while not answer.endswith(struct.pack("HHII", DONE, 2, 1, self.name[0]) + bytes(4)):
            answer += self.bound.recv(65536)
        must(b"lo\0" in answer, "it is told of lo")


run(Victim())
