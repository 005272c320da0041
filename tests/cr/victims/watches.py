"""Watches on files and directories, with their numbers."""
import ctypes
import os
import struct

from victim import equal, run

libc = ctypes.CDLL(None)
CREATE, CLOSE_WRITE = 0x100, 0x8


class Victim:
    def set_up(self):
        os.makedirs("/srv/watched/deep")
        self.touch("/srv/watched/file")
        self.inotify = libc.inotify_init1(os.O_NONBLOCK)
        self.gone = self.watch("/srv", CREATE)
        self.directory = self.watch("/srv/watched/deep", CREATE)
        self.file = self.watch("/srv/watched/file", CLOSE_WRITE)
        libc.inotify_rm_watch(self.inotify, self.gone)
        self.events()

    def watch(self, path, mask):
        return libc.inotify_add_watch(self.inotify, path.encode(), mask)

    def touch(self, path):
        with open(path, "a"):
            pass

    def events(self):
        try:
            got, events = os.read(self.inotify, 65536), []
        except BlockingIOError:
            return []
        while got:
            watch, mask, _, length = struct.unpack_from("iIII", got)
            events.append((watch, mask, got[16 : 16 + length].rstrip(b"\0").decode()))
            got = got[16 + length :]
        return events

    def change(self):
        libc.inotify_rm_watch(self.inotify, self.file)
        self.touch("/srv/watched/deep/other")
        os.rename("/srv/watched", "/srv/moved")

    def verify(self):
        equal(self.events(), [], "the events that wait")
        self.touch("/srv/watched/deep/new")
        self.touch("/srv/watched/file")
        equal(self.events(), [(self.directory, CREATE, "new"), (self.file, CLOSE_WRITE, "")], "the events")
        os.unlink("/srv/watched/deep/new")


run(Victim())
