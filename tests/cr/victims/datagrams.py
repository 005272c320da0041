"""Unix datagram sockets: their names, whom they are connected to, and messages that wait, with who sent them."""
import os
import socket

from victim import equal, run


def made(name=None):
    it = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if name:
        it.bind(name)
    return it


class Victim:
    def set_up(self):
        os.makedirs("/root/datagrams", exist_ok=True)
        os.chdir("/root/datagrams")
        self.server = made("/root/datagrams/server")
        self.client = made("client")
        self.abstract = made("\0datagrams")
        self.nameless = made()
        self.nameless.connect("/root/datagrams/server")
        self.client.connect("\0datagrams")
        self.gone = made()
        other = made("other")
        self.gone.connect("other")
        other.sendto(b"from one that is gone", "server")
        other.close()
        os.unlink("other")
        self.send()

    def send(self):
        self.nameless.send(b"from nobody")
        self.client.sendto(b"from the client", "server")
        self.abstract.sendto(b"from the abstract one", "/root/datagrams/server")
        self.client.send(b"to the abstract one")

    def change(self):
        self.server.recv(99)
        self.abstract.close()
        self.client.close()
        os.unlink("server")
        self.taken = made("server")

    def verify(self):
        if not hasattr(self, "verified"):
            equal(self.server.recvfrom(99), (b"from one that is gone", "other"), "the first message")
            self.verified = True
        equal(self.server.recvfrom(99), (b"from nobody", None), "a message without a sender's name")
        equal(self.server.recvfrom(99), (b"from the client", "client"), "a message")
        equal(self.server.recvfrom(99), (b"from the abstract one", b"\0datagrams"), "an abstract sender's")
        equal(self.abstract.recvfrom(99), (b"to the abstract one", "client"), "the connected one's")
        equal(self.client.getpeername(), b"\0datagrams", "whom it is connected to")
        self.send()
        try:
            self.gone.send(b"x")
        except (ConnectionRefusedError, ConnectionResetError, OSError):
            pass
        else:
            raise AssertionError("one that is gone took something")


run(Victim())
