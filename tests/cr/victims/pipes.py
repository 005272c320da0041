"""Pipes with bytes in them: within a process, with packets, of other sizes, opened twice; FIFOs with and without a name."""
import fcntl
import os
import select
import sys
import termios

from victim import equal, must, run

SIZE = 1 << 18


class Victim:
    def set_up(self):
        self.reader, self.writer = os.pipe()
        os.write(self.writer, b"in the pipe")
        self.again = os.dup(self.writer)
        self.waiting = os.open(f"/proc/self/fd/{self.reader}", os.O_RDONLY | os.O_NONBLOCK)
        self.packets = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
        for packet in (b"one", b"two", b"3" * 4096):
            os.write(self.packets[1], packet)
        self.large = os.pipe2(os.O_NONBLOCK)
        fcntl.fcntl(self.large[1], fcntl.F_SETPIPE_SZ, SIZE)
        os.write(self.large[1], bytes(range(256)) * (SIZE // 256))
        self.half = os.pipe2(os.O_NONBLOCK)
        os.write(self.half[1], b"the last words")
        os.close(self.half[1])
        os.mkfifo("/srv/fifo", 0o640)
        self.fifo = os.open("/srv/fifo", os.O_RDWR)
        os.write(self.fifo, b"in the fifo")
        os.mkfifo("/srv/gone")
        self.gone = os.open("/srv/gone", os.O_RDWR | os.O_NONBLOCK)
        os.unlink("/srv/gone")
        os.write(self.gone, b"nameless")

    def change(self):
        os.read(self.reader, 3)
        os.write(self.again, b"more")
        os.set_blocking(self.reader, False)
        os.read(self.packets[0], 1)
        os.read(self.large[0], 70_000)
        fcntl.fcntl(self.large[1], fcntl.F_SETPIPE_SZ, SIZE * 2)
        os.read(self.half[0], 100)
        os.read(self.fifo, 5)
        os.unlink("/srv/fifo")
        os.write(self.gone, b"!")

    def take(self, reader, writer, size):
        """Reads, and puts it back."""
        got = os.read(reader, size)
        os.write(writer, got)
        return got

    def verify(self):
        equal(self.take(self.reader, self.again, 100), b"in the pipe", "the bytes")
        equal(os.get_blocking(self.reader), True, "the flag of the reader")
        equal(os.get_blocking(self.waiting), False, "the flag of the other reader")
        equal(self.take(self.waiting, self.writer, 100), b"in the pipe", "the bytes, by the other reader")
        for packet in (b"one", b"two", b"3" * 4096):
            equal(self.take(*self.packets, 9999), packet, "a packet")
        equal(fcntl.fcntl(self.large[0], fcntl.F_GETPIPE_SZ), SIZE, "the size")
        must(self.take(*self.large, SIZE) == bytes(range(256)) * (SIZE // 256), "the bytes in the large one differ")
        for fifo in (self.fifo, os.open("/srv/fifo", os.O_RDWR)):
            equal(self.take(fifo, self.fifo, 100), b"in the fifo", "the bytes in the FIFO")
        os.close(fifo)
        equal(os.stat("/srv/fifo").st_mode, 0o010640, "the mode of the FIFO")
        equal(self.take(self.gone, self.gone, 100), b"nameless", "the bytes in the nameless one")
        equal(os.fstat(self.gone).st_nlink, 0, "the names of the nameless one")
        must(not os.path.exists("/srv/gone"), "the name that was removed is there")
        left = fcntl.ioctl(self.half[0], termios.FIONREAD, bytes(4))
        equal(int.from_bytes(left, sys.byteorder), 14, "the bytes that nobody adds to")
        poll = select.poll()
        poll.register(self.half[0], select.POLLIN)
        equal(poll.poll(0), [(self.half[0], select.POLLIN | select.POLLHUP)], "the end without another")


run(Victim())
