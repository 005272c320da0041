"""Memory that is shared: of memfd_create, without a name, of files; mapped twice, sealed."""
import fcntl
import mmap
import os

from victim import equal, must, run

PAGES = 1 << 20
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Victim:
    def set_up(self):
        self.memory = os.memfd_create("victim", os.MFD_ALLOW_SEALING)
        os.truncate(self.memory, PAGES)
        os.pwrite(self.memory, b"at the end", PAGES - 10)
        fcntl.fcntl(self.memory, fcntl.F_ADD_SEALS, SEALS)
        os.lseek(self.memory, 77, 0)
        self.maps = [mmap.mmap(self.memory, PAGES) for _ in range(2)]
        self.maps[0][:5] = b"first"
        self.unsealable = os.memfd_create("plain")
        self.nameless = mmap.mmap(-1, PAGES)
        self.nameless[4096:4100] = b"anon"
        fd = os.open("/srv/mapped", os.O_RDWR | os.O_CREAT)
        os.truncate(fd, 8192)
        self.file = mmap.mmap(fd, 8192)
        self.file[:6] = b"mapped"
        self.open = fd
        gone = os.open("/srv/gone", os.O_RDWR | os.O_CREAT)
        os.truncate(gone, 4096)
        self.gone = mmap.mmap(gone, 4096)
        self.gone[:4] = b"gone"
        os.unlink("/srv/gone")
        os.close(gone)

    def change(self):
        self.maps[1][:5] = b"later"
        self.nameless[4096:4100] = b"more"
        self.file[:6] = b"******"
        self.gone[:4] = b"here"
        os.close(self.memory)
        os.unlink("/srv/mapped")

    def verify(self):
        equal(self.maps[0][:5], b"first", "the start")
        self.maps[0][:5] = b"First"
        equal((self.maps[1][:5], os.pread(self.memory, 5, 0)), (b"First", b"First"), "what the others see")
        self.maps[1][:5] = b"first"
        equal(os.pread(self.memory, 99, PAGES - 10), b"at the end", "the end")
        equal(os.lseek(self.memory, 0, 1), 77, "the offset")
        equal(fcntl.fcntl(self.memory, fcntl.F_GET_SEALS), SEALS, "the seals")
        equal(fcntl.fcntl(self.unsealable, fcntl.F_GET_SEALS), fcntl.F_SEAL_SEAL, "the seals of the other")
        equal(os.readlink(f"/proc/self/fd/{self.memory}"), "/memfd:victim (deleted)", "the name")
        must(os.fstat(self.memory).st_blocks < PAGES // 1024, "its holes are filled")
        equal(self.nameless[4096:4100], b"anon", "the memory without a name")
        equal(self.file[:6], b"mapped", "the mapped file")
        self.file[8000:8004] = b"page"
        equal(os.pread(self.open, 4, 8000), b"page", "the file by its descriptor")
        with open("/srv/mapped", "rb") as file:
            equal(file.read(6), b"mapped", "the file by its name")
        equal(self.gone[:4], b"gone", "the mapped file without a name")


run(Victim())
