"""UDP sockets: whom they are connected to, and datagrams that wait, with who sent them."""
import socket

from victim import equal, run

HERE = "127.0.0.1"


def made(port, family=socket.AF_INET, address=HERE):
    it = socket.socket(family, socket.SOCK_DGRAM)
    it.bind((address, port))
    it.setblocking(False)
    return it


class Victim:
    def set_up(self):
        self.server = made(5000)
        self.everywhere = made(6000, socket.AF_INET6, "::")
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect((HERE, 5000))
        self.own = self.client.getsockname()
        self.pair = [made(7001), made(7002)]
        self.pair[0].connect((HERE, 7002))
        self.pair[1].connect((HERE, 7001))
        self.six = made(8000, socket.AF_INET6, "::1")
        self.server.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
        with made(9999) as gone:
            gone.sendto(b"from one that is gone", (HERE, 5000))
        self.send()

    def send(self):
        self.client.send(b"first")
        self.client.send(b"")
        self.client.send(b"third")
        self.pair[0].send(b"to the other")
        self.pair[1].send(b"b" * 30000)
        self.six.sendto(b"by six", ("::1", 6000))
        self.server.sendto(b"by four", (HERE, 6000))
        self.server.sendto(b"an answer", self.own)

    def change(self):
        self.server.recv(99)
        self.client.close()
        self.pair[0].close()
        self.taken = made(7001)
        self.everywhere.recv(99)

    def verify(self):
        if not hasattr(self, "verified"):
            equal(self.server.recvfrom(99), (b"from one that is gone", (HERE, 9999)), "the first one")
            self.verified = True
        for text in b"first", b"", b"third":
            equal(self.server.recvfrom(99), (text, self.own), "what the server had not read")
        equal(self.client.getsockname(), self.own, "the client's name")
        equal(self.client.getpeername(), (HERE, 5000), "whom the client talks to")
        equal(self.client.recv(99), b"an answer", "what the client had not read")
        equal(self.pair[1].recv(99), b"to the other", "what one of the pair had not read")
        equal(self.pair[0].recv(99999), b"b" * 30000, "what the other had not read")
        equal(self.everywhere.recvfrom(99)[0], b"by six", "what came by six")
        equal(self.everywhere.recvfrom(99), (b"by four", ("::ffff:127.0.0.1", 5000, 0, 0)), "what came by four")
        equal(self.server.getsockopt(socket.IPPROTO_IP, socket.IP_TTL), 33, "an option")
        try:
            self.server.recv(9)
        except BlockingIOError:
            pass
        else:
            raise AssertionError("there was more than was sent")
        self.send()


run(Victim())
