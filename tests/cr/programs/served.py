"""A server whose client is outside of the sandbox: the connection is reset when the state comes back."""
import socket

from victim import equal, run


class Victim:
    def set_up(self):
        self.server = socket.create_server(("127.0.0.1", 8080))
        self.server.settimeout(30)

    def change(self):
        self.accepted, _ = self.server.accept()
        equal(self.accepted.recv(5), b"hello", "what the client says")

    def verify(self):
        equal(self.accepted.recv(99), b" and more", "what was not read yet")
        try:
            self.accepted.recv(99)
        except ConnectionResetError:
            return
        raise AssertionError("the connection is not reset")


run(Victim())
