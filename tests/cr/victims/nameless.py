"""Files and directories whose names are gone, and a directory that is half read."""
import ctypes
import os

from victim import equal, must, run

libc = ctypes.CDLL(None, use_errno=True)
TMPFILE = 0o20200000


class Victim:
    def set_up(self):
        os.makedirs("/srv/here/removed/deep")
        self.file = os.open("/srv/here/file", os.O_RDWR | os.O_CREAT, 0o640)
        os.write(self.file, b"a file without a name")
        self.second = os.open("/srv/here/file", os.O_RDONLY)
        os.lseek(self.second, 2, 0)
        os.unlink("/srv/here/file")
        self.temporary = os.open("/srv/here", os.O_RDWR | TMPFILE, 0o600)
        os.write(self.temporary, b"never had one")
        self.directory = os.open("/srv/here/removed/deep", os.O_RDONLY)
        os.chdir("/srv/here/removed/deep")
        os.rmdir("/srv/here/removed/deep")
        os.rmdir("/srv/here/removed")
        os.mkdir("/srv/list")
        self.names = {f"name-{i:04}" for i in range(2000)}
        for name in self.names:
            os.close(os.open(f"/srv/list/{name}", os.O_CREAT | os.O_WRONLY))
        self.list = os.open("/srv/list", os.O_RDONLY)
        self.seen = self.read_some(self.list)

    def read_some(self, fd):
        room = ctypes.create_string_buffer(8192)
        got = libc.syscall(217, fd, room, 8192)
        must(got >= 0, "the directory cannot be read")
        at, names = 0, set()
        while at < got:
            length = int.from_bytes(room.raw[at + 16 : at + 18], "little")
            names.add(room.raw[at + 19 : at + length].split(b"\0")[0].decode())
            at += length
        return names - {".", ".."}

    def change(self):
        os.write(self.file, b" and more")
        os.ftruncate(self.temporary, 3)
        os.close(self.directory)
        os.chdir("/")
        os.unlink("/srv/list/" + max(self.names))
        self.read_some(self.list)

    def verify(self):
        equal(os.pread(self.file, 99, 0), b"a file without a name", "the file")
        equal(os.lseek(self.file, 0, 1), 21, "its offset")
        equal(os.lseek(self.second, 0, 1), 2, "the other offset")
        equal((os.fstat(self.file).st_nlink, os.fstat(self.file).st_mode), (0, 0o100640), "its looks")
        os.pwrite(self.file, b"A", 0)
        equal(os.pread(self.second, 1, 0), b"A", "the same file by the other descriptor")
        os.pwrite(self.file, b"a", 0)
        must(not os.path.exists("/srv/here/file"), "the name is there again")
        equal(os.pread(self.temporary, 99, 0), b"never had one", "the temporary file")
        equal(os.listdir("/srv/here"), [], "what is in the directory")
        must(os.path.samestat(os.stat("../.."), os.stat("/srv/here")), "the way up leads elsewhere")
        equal(os.fstat(self.directory).st_nlink in (0, 1, 2), True, "the removed directory")
        self.verify_list()

    def verify_list(self):
        rest, place = set(), os.lseek(self.list, 0, 1)
        while some := self.read_some(self.list):
            rest |= some
        equal((rest | self.seen, len(rest & self.seen)), (self.names, 0), "the names that were left")
        os.lseek(self.list, place, 0)


run(Victim())
