"""Both sides of a terminal: its number, size and modes, packets, who owns it, and which descriptors share it."""
import fcntl
import os
import struct
import termios

from victim import equal, run

TIOCPKT, TIOCGPKT = 0x5420, 0x80045438


class Victim:
    def set_up(self):
        self.spare = os.openpty()
        self.master, self.slave = os.openpty()
        self.name = os.ttyname(self.slave)
        os.close(self.spare[0])
        os.close(self.spare[1])
        termios.tcsetwinsize(self.master, (12, 34))
        modes = termios.tcgetattr(self.slave)
        modes[3] &= ~(termios.ECHO | termios.ICANON)
        modes[6][termios.VINTR] = b"\x11"
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        self.modes = termios.tcgetattr(self.slave)
        fcntl.ioctl(self.master, TIOCPKT, struct.pack("i", 1))
        os.chmod(self.name, 0o622)
        self.again = os.open(self.name, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        self.silent, quiet = os.openpty()
        os.close(quiet)

    def change(self):
        termios.tcsetwinsize(self.master, (1, 1))
        fcntl.ioctl(self.master, TIOCPKT, struct.pack("i", 0))
        os.chmod(self.name, 0o600)
        os.write(self.master, b"left")
        termios.tcsetattr(self.slave, termios.TCSANOW, [0] * 6 + [self.modes[6]])
        os.close(self.again)

    def verify(self):
        equal(os.ttyname(self.slave), self.name, "the name")
        equal(termios.tcgetwinsize(self.slave), (12, 34), "the size")
        equal(termios.tcgetattr(self.slave), self.modes, "the modes")
        equal(struct.unpack("i", fcntl.ioctl(self.master, TIOCGPKT, bytes(4)))[0], 1, "packet mode")
        equal(os.stat(self.name).st_mode & 0o777, 0o622, "the mode of the name")
        os.write(self.slave, b"out")
        equal(os.read(self.master, 99), b"\0out", "what the master reads")
        os.write(self.master, b"in")
        equal(os.read(self.again, 99), b"in", "what the slave reads")
        equal(os.get_blocking(self.again), False, "the flag of the second")
        try:
            os.read(self.silent, 1)
        except OSError as error:
            equal(error.errno, 5, "reading a master without a slave")
        else:
            raise AssertionError("a master without a slave was read")


run(Victim())
