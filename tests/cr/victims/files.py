"""Open files with their offsets, and a working directory."""
import os

from victim import equal, run


class Victim:
    def set_up(self):
        os.makedirs("/srv/files/deep")
        os.chdir("/srv/files/deep")
        self.log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self.log, b"first\n")
        self.data = os.open("../data", os.O_RDWR | os.O_CREAT)
        os.write(self.data, b"0123456789")
        os.lseek(self.data, 4, 0)
        self.copy = os.dup(self.data)
        os.set_inheritable(self.copy, True)

    def change(self):
        os.write(self.log, b"second\n")
        os.write(self.data, b"xxxx")
        os.rename("log", "../moved")
        os.close(self.copy)
        os.chdir("/")

    def verify(self):
        equal(os.getcwd(), "/srv/files/deep", "the directory")
        with open("log", "rb") as file:
            equal(file.read(), b"first\n", "the log")
        equal(os.pread(self.data, 99, 0), b"0123456789", "the data")
        equal(os.lseek(self.copy, 0, 1), 4, "the shared offset")
        os.lseek(self.data, 5, 0)
        equal(os.lseek(self.copy, 0, 1), 5, "the offset moved by the other descriptor")
        os.lseek(self.data, 4, 0)
        equal(os.get_inheritable(self.copy), True, "the flag of the copy")
        equal(os.get_inheritable(self.data), False, "the flag of the first")


run(Victim())
