"""Carries out file operations, one JSON object a line on standard input, and tells after each what it sees: the whole of
its trees, and what its open files, mappings and working directory show. The same program runs inside the sandbox and
outside on a plain directory; what both tell must be equal.

usage: actor.py '{"trees": {"w": "/dir", ...}, "steps": [[number, "nanoseconds"], ...], "countNames": true, "outside": true}'
"""

import bisect
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import random
import shutil
import stat
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
CLOCK_REALTIME_COARSE = 5
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
MS_BIND, MS_REC = 4096, 16384
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC = {"allocate": 0, "keep": 1, "punch": 3, "zero": 16}
# The files are a few KiB; one read takes them whole.
WHOLE = 1 << 20
# Earlier ones are set by operations and by the preparation, to the nanosecond.
FIRST_NATURAL_NS = 1_600_000_000 * 10**9

setup = json.loads(sys.argv[1])
trees = setup["trees"]
steps = [(number, int(began)) for number, began in setup["steps"]]
slots = {}  # number -> File, Listing or Mapping


def data_of(data):
    """Bytes that differ with the seed; a run of them looks like no other."""
    return random.Random(data["seed"]).randbytes(data["length"])


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def path_of(name):
    tree, inside = name
    return os.path.join(trees[tree], inside) if inside else trees[tree]


def name_of(path):
    """Tells a place by its tree, for trees have other places outside."""
    for tree, root in trees.items():
        if path == root or path.startswith(root + "/"):
            return [tree, path[len(root) + 1 :]]
    return None


def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# ---- what is kept between operations ----


class File:
    def __init__(self, fd):
        self.fd = fd

    def close(self):
        os.close(self.fd)

    def entries(self):
        """By a description of its own, so that the place in this one stays."""
        return sorted(os.listdir(f"/proc/self/fd/{self.fd}"))

    def seen(self):
        info = os.fstat(self.fd)
        facts = {"inode": facts_of(info)}
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            facts["names"] = names_of(info)  # of a deleted file of a layer overlayfs tells how many it has there
        if stat.S_ISDIR(info.st_mode) and os.readlink(f"/proc/self/fd/{self.fd}").endswith(" (deleted)"):
            facts["inode"].pop()  # nobody looks at its times
        if flags & os.O_PATH:
            return facts
        if stat.S_ISREG(info.st_mode):
            facts["at"] = os.lseek(self.fd, 0, os.SEEK_CUR)
            facts["xattrs"] = xattrs_of(self.fd)
            try:
                facts["content"] = digest(os.pread(self.fd, WHOLE, 0))
            except OSError as error:
                facts["content"] = errno.errorcode[error.errno]
        elif stat.S_ISDIR(info.st_mode):
            facts["entries"] = self.entries()
        return facts


class Listing(File):
    """A directory read in small pieces, with other operations between. What is there all the time is told once."""

    def __init__(self, fd):
        super().__init__(fd)
        self.told = []
        self.kept = set(self.entries())

    def seen(self):
        self.kept &= set(self.entries())
        return {"inode": facts_of(os.fstat(self.fd))[:3]}

    def read(self, size):
        """True while there is more."""
        buffer = ctypes.create_string_buffer(size)
        got = check(libc.syscall(217, self.fd, buffer, size))
        at = 0
        while at < got:
            length = int.from_bytes(buffer.raw[at + 16 : at + 18], sys.byteorder)
            name = os.fsdecode(buffer.raw[at + 19 : at + length].split(b"\0", 1)[0])
            if name not in (".", ".."):
                self.told.append(name)
            at += length
        return got > 0

    def faults(self):
        twice = sorted({name for name in self.told if self.told.count(name) > 1 and name in self.kept})
        return {"missing": sorted(self.kept - set(self.told)), "twice": twice}


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Mapping:
    """Of a file that nothing else holds open: its size and name are what /proc/self/maps leads to. One that lost its name
    is only looked at, for the end of a file within a page cannot be seen from the memory."""

    def __init__(self, fd, kind):
        info = os.fstat(fd)
        self.kind = kind
        self.length = info.st_size // mmap.PAGESIZE * mmap.PAGESIZE
        self.is_gone = False
        if self.length == 0 or names_of(info) not in (1, None):
            raise OSError(errno.EINVAL, "not for mapping")
        protection = mmap.PROT_READ | (0 if kind == "read" else mmap.PROT_WRITE)
        flags = mmap.MAP_PRIVATE if kind == "private" else mmap.MAP_SHARED
        self.at = libc.mmap(None, ctypes.c_size_t(self.length), protection, flags, fd, ctypes.c_long(0))
        check(-1 if self.at == ctypes.c_void_p(-1).value else 0)
        if kind == "private":
            self.write(0, b"its own" * (self.length // 7))
            self.write(self.length - 7, b"its own")

    def close(self):
        check(libc.munmap(ctypes.c_void_p(self.at), ctypes.c_size_t(self.length)))

    def path(self):
        begin = f"{self.at:08x}-"
        with open("/proc/self/maps", encoding="utf8", errors="surrogateescape") as maps:
            line = next(line for line in maps if line.startswith(begin))
        path = line.rstrip("\n").split(maxsplit=5)[5].replace("\\012", "\n")
        self.is_gone = self.is_gone or not os.path.exists(path)  # a name that was taken away says so
        return path

    def transfer(self, call, offset, buffer):
        """The kernel copies, so that where the file has no page any more there is an error and no signal."""
        here = Vector(ctypes.addressof(buffer), len(buffer))
        there = Vector(self.at + offset, len(buffer))
        return check(call(os.getpid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0))

    def write(self, offset, data):
        return self.transfer(libc.process_vm_writev, offset, ctypes.create_string_buffer(data, len(data)))

    def seen(self):
        if self.kind != "private":
            self.path()
        buffer = ctypes.create_string_buffer(self.length)
        try:
            got = self.transfer(libc.process_vm_readv, 0, buffer)
        except OSError as error:
            return {"gone": self.is_gone, "content": errno.errorcode[error.errno]}
        return {"gone": self.is_gone, "content": digest(buffer.raw[:got])}


def slot_of(number, kind=File):
    kept = slots.get(number)
    if not isinstance(kept, kind):
        raise OSError(errno.EBADF, "no such slot")
    return kept


def keep(number, kept):
    if number in slots:
        slots.pop(number).close()
    slots[number] = kept


def fd_of(number):
    return slot_of(number, (File, Listing)).fd


# ---- operations: by name ----


def open_file(path, flags, mode=0, directory=None):
    """No open waits for the other end of a FIFO."""
    return os.open(path, os.O_NONBLOCK | flags, mode, dir_fd=directory)


def flags_of(names):
    bits = 0
    for name in names:
        bits |= getattr(os, "O_" + name)
    return bits


def write_at(fd, offset, data):
    try:
        return os.pwrite(fd, data_of(data), offset)
    finally:
        os.close(fd)


def op_create(path, mode, data):
    return write_at(open_file(path_of(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), 0, data)


def op_put(path, mode, data):
    return write_at(open_file(path_of(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), 0, data)


def op_write(path, offset, data):
    return write_at(open_file(path_of(path), os.O_WRONLY), offset, data)


def op_append(path, data):
    fd = open_file(path_of(path), os.O_WRONLY | os.O_APPEND)
    try:
        return os.write(fd, data_of(data))
    finally:
        os.close(fd)


def op_truncate(path, length):
    os.truncate(path_of(path), length)


def op_allocate(path, how, offset, length):
    fd = open_file(path_of(path), os.O_RDWR)
    try:
        check(libc.fallocate(fd, FALLOC[how], ctypes.c_long(offset), ctypes.c_long(length)))
    finally:
        os.close(fd)


def op_copy_range(path, to, length):
    source = open_file(path_of(path), os.O_RDONLY)
    try:
        target = open_file(path_of(to), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            return os.copy_file_range(source, target, length)
        except OSError as error:
            # overlayfs says so when the files lie in different layers; programs copy by hand then
            if error.errno != errno.EXDEV:
                raise
            return os.write(target, os.read(source, length))
        finally:
            os.close(target)
    finally:
        os.close(source)


def op_mkdir(path, mode):
    os.mkdir(path_of(path), mode)


def op_rmdir(path):
    os.rmdir(path_of(path))


def op_unlink(path):
    os.unlink(path_of(path))


def op_remove_all(path):
    shutil.rmtree(path_of(path))


def rename2(path, to, flags):
    names = os.fsencode(path_of(path)), os.fsencode(path_of(to))
    try:
        check(libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], flags))
    except OSError as error:
        # overlayfs may find that too late, when it has already copied up
        if error.errno == errno.ENOTEMPTY:
            for name in names:
                os.utime(os.path.dirname(name), ns=(10**18, 10**18))
        raise


def op_rename(path, to):
    rename2(path, to, 0)


def op_exchange(path, to):
    rename2(path, to, RENAME_EXCHANGE)


def op_rename_new(path, to):
    rename2(path, to, RENAME_NOREPLACE)


def op_link(path, to):
    os.link(path_of(path), path_of(to), follow_symlinks=False)


def op_symlink(path, target):
    os.symlink(target, path_of(path))


def op_mkfifo(path, mode):
    os.mkfifo(path_of(path), mode)


def op_chmod(path, mode):
    os.chmod(path_of(path), mode)


def op_chown(path, uid, gid):
    os.chown(path_of(path), uid, gid, follow_symlinks=False)


def op_utime(path, ns):
    os.utime(path_of(path), ns=(ns, ns), follow_symlinks=False)


def op_set_xattr(path, name, data, how):
    flags = {"any": 0, "new": os.XATTR_CREATE, "old": os.XATTR_REPLACE}[how]
    os.setxattr(path_of(path), name, data_of(data), flags)


def op_remove_xattr(path, name):
    os.removexattr(path_of(path), name)


def op_chdir(path):
    os.chdir(path_of(path))


def op_put_here(name, data):
    return write_at(open_file(name, os.O_WRONLY | os.O_CREAT, 0o644), 0, data)


# ---- operations: by open file ----


def keep_file(number, fd):
    """The name of a FIFO that is open leads elsewhere after a checkpoint."""
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EOPNOTSUPP, "a FIFO")
    keep(number, File(fd))


def op_open(slot, path, flags, mode):
    keep_file(slot, open_file(path_of(path), flags_of(flags), mode))


def op_open_at(slot, directory, name, flags, mode):
    keep_file(slot, open_file(name, flags_of(flags), mode, fd_of(directory)))


def op_mkdir_at(directory, name, mode):
    os.mkdir(name, mode, dir_fd=fd_of(directory))


def op_unlink_at(directory, name):
    os.unlink(name, dir_fd=fd_of(directory))


def op_rename_at(directory, name, to_directory, to):
    os.rename(name, to, src_dir_fd=fd_of(directory), dst_dir_fd=fd_of(to_directory))


def op_close(slot):
    if slot not in slots:
        raise OSError(errno.EBADF, "no such slot")
    slots.pop(slot).close()


def op_dup(slot, to):
    keep(to, File(os.dup(fd_of(slot))))


def op_fd_write(slot, data):
    return os.write(fd_of(slot), data_of(data))


def op_fd_write_at(slot, offset, data):
    return os.pwrite(fd_of(slot), data_of(data), offset)


def op_fd_read(slot, length):
    return digest(os.read(fd_of(slot), length))


def op_fd_seek(slot, offset):
    if stat.S_ISDIR(os.fstat(fd_of(slot)).st_mode):
        raise OSError(errno.EISDIR, "offsets in directories are the file system's own")
    return os.lseek(fd_of(slot), offset, os.SEEK_SET)


def op_fd_truncate(slot, length):
    os.ftruncate(fd_of(slot), length)


def fd_to_change(number):
    """Of a deleted file of a layer overlayfs cannot always make a copy; what is open for writing is one."""
    fd = fd_of(number)
    if stat.S_ISREG(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "not open for writing")
    return fd


def op_fd_chmod(slot, mode):
    os.fchmod(fd_to_change(slot), mode)


def op_fd_chown(slot, uid, gid):
    os.fchown(fd_to_change(slot), uid, gid)


def op_fd_utime(slot, ns):
    os.utime(fd_to_change(slot), ns=(ns, ns))


def op_fd_set_xattr(slot, name, data):
    os.setxattr(fd_to_change(slot), name, data_of(data))


def op_fd_sync(slot):
    os.fsync(fd_of(slot))


def op_fd_link(slot, to):
    """As a file made by O_TMPFILE gets its name."""
    source = os.fsencode(f"/proc/self/fd/{fd_of(slot)}")
    try:
        check(libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path_of(to)), AT_SYMLINK_FOLLOW))
    except OSError as error:
        # a file that was deleted before a checkpoint is on a file system of its own after it
        if error.errno == errno.EXDEV:
            error.errno = errno.ENOENT
        raise


def op_fd_chdir(slot):
    os.fchdir(fd_of(slot))


def op_list_begin(slot, path):
    keep(slot, Listing(os.open(path_of(path), os.O_RDONLY | os.O_DIRECTORY)))


def op_list_more(slot):
    slot_of(slot, Listing).read(400)


def op_list_end(slot):
    listing = slot_of(slot, Listing)
    while listing.read(400):
        pass
    faults = listing.faults()
    slots.pop(slot).close()
    return faults


# ---- operations: by mapping ----


def op_map(slot, path, kind):
    fd = open_file(path_of(path), os.O_RDONLY if kind == "private" else os.O_RDWR)
    try:
        keep(slot, Mapping(fd, kind))
    finally:
        os.close(fd)


def op_map_write(slot, offset, data, ns):
    """When a store changes the time of the file is the kernel's business (at the first after it was written back), so
    that is set as well."""
    mapping = slot_of(slot, Mapping)
    path = mapping.path() if mapping.kind == "shared" else None
    if mapping.is_gone or mapping.kind == "read":
        raise OSError(errno.EACCES, "not for writing")
    size = os.stat(path).st_size if path else mapping.length
    start = offset % mapping.length
    data = data_of(data)[: max(0, min(size, mapping.length) - start)]
    if data:
        mapping.write(start, data)
    if path:
        os.utime(path, ns=(ns, ns))
    return len(data)


# ---- what is seen ----


def time_of(info):
    """The step in which it was set, for clocks differ."""
    if info.st_mtime_ns < FIRST_NATURAL_NS:
        return str(info.st_mtime_ns)
    at = bisect.bisect_right(steps, info.st_mtime_ns, key=lambda step: step[1])
    return f"step {steps[at - 1][0]}" if at > 0 else "before"


def facts_of(info):
    is_sized = stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode)
    return [oct(info.st_mode), info.st_uid, info.st_gid, info.st_size if is_sized else None, time_of(info)]


def names_of(info):
    """A file in a layer that was put together has one in the layer it came from too, until that is removed."""
    return info.st_nlink if setup["countNames"] and not stat.S_ISDIR(info.st_mode) else None


def xattrs_of(what, **how):
    names = [name for name in os.listxattr(what, **how) if name.startswith(("user.", "system."))]
    return {name: digest(os.getxattr(what, name, **how)) for name in sorted(names)}


def content_of(path, info):
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(info.st_mode):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return digest(os.read(fd, WHOLE))
    finally:
        os.close(fd)


def walk(tree, inside, first_names, seen):
    path = path_of([tree, inside])
    info = os.lstat(path)
    facts = {"facts": facts_of(info), "xattrs": xattrs_of(path, follow_symlinks=False)}
    if stat.S_ISDIR(info.st_mode):
        for name in sorted(os.listdir(path)):
            walk(tree, f"{inside}/{name}" if inside else name, first_names, seen)
    else:
        facts["content"] = content_of(path, info)
        facts["same as"] = first_names.setdefault((info.st_dev, info.st_ino), f"{tree}:{inside}")
        facts["names"] = names_of(info)
    seen[f"{tree}:{inside}"] = facts


def all_seen():
    seen = {}
    for tree in trees:
        walk(tree, "", {}, seen)
    for number, kept in sorted(slots.items()):
        seen[f"slot {number}"] = kept.seen()
    try:
        seen["working directory"] = name_of(os.getcwd())
    except FileNotFoundError:
        seen["working directory"] = "removed"
    return seen


def op_look():
    return all_seen()


def op_nothing():
    pass


def op_age(tree):
    """Gives everything a time of long ago."""
    for number, name in enumerate(sorted(all_seen(), reverse=True)):
        if name.startswith(tree + ":"):
            ns = 10**18 + number * 1_000_000_007
            os.utime(path_of([tree, name[2:]]), ns=(ns, ns), follow_symlinks=False)


def op_layer(path):
    """All that a layer on the host's disk holds, to the nanosecond."""
    seen = {}
    for directory, directories, files in os.walk(path):
        directories.sort()
        if directory == path:
            directories[:] = [name for name in directories if name.startswith("fs")]
            continue  # its record, and what is there beside the files
        if "work" in directories and os.path.dirname(directory) == path:
            directories.remove("work")  # the kernel's own
        for name in [""] + directories + sorted(files):
            at = os.path.join(directory, name) if name else directory
            info = os.lstat(at)
            xattrs = {key: os.getxattr(at, key, follow_symlinks=False).hex() for key in os.listxattr(at, follow_symlinks=False)}
            stated = [info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_rdev]
            stated = [str(fact) for fact in stated]
            seen[at[len(path) :]] = [stated, xattrs, content_of(at, info)]
    return seen


def op_inodes():
    """Of files that are open for writing: who follows one by name must find it to be the same after a checkpoint. A copy
    of a file of the base shows the number of the base's only until the first checkpoint."""
    found = {}
    for number, kept in slots.items():
        if isinstance(kept, File) and fcntl.fcntl(kept.fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            info = os.fstat(kept.fd)
            if info.st_nlink == 1 and os.readlink(f"/proc/self/fd/{kept.fd}").startswith(trees["r"]):
                found[f"slot {number}"] = info.st_ino
    return found


# ---- the loop ----

spent_until = 0


def next_step(number):
    """The kernel gives files the time of its last tick: a step begins with the tick after the end of the one before."""
    global spent_until
    while (now := time.clock_gettime_ns(CLOCK_REALTIME_COARSE)) <= spent_until:
        time.sleep(0.0003)
    steps.append((number, now))
    return now


def carry_out(request):
    global spent_until
    operation = request.pop("op")
    number = request.pop("step", None)
    began = None if number is None else next_step(number)
    try:
        result = {"value": globals()["op_" + operation](**request)}
    except OSError as error:
        result = {"error": errno.errorcode[error.errno]}
    spent_until = time.time_ns()
    return {"result": result, "began": began and str(began)}


def kinds():
    return {number: type(kept).__name__ for number, kept in slots.items()}


def enter_namespaces():
    """Root in one is not allowed all that root is, such as to write to a set-user-id file that stays one. With the ids
    of outside, which only a process there can give it."""
    ready, unshared = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(unshared)
        os.read(ready, 1)
        for ids in ("uid", "gid"):
            with open(f"/proc/{os.getppid()}/{ids}_map", "w", encoding="ascii") as file:
                file.write("0 0 65536")
        os._exit(0)
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    os.close(ready)
    os.close(unshared)
    if os.waitpid(process, 0)[1] != 0:
        raise RuntimeError("no user namespace")


def mount_workspace():
    """It is a mount of its own inside: no link and no rename leads out of it or into it."""
    path = os.fsencode(trees["w"])
    check(libc.mount(path, path, None, MS_BIND | MS_REC, None))


def main():
    os.umask(0o022)
    if setup["outside"]:
        enter_namespaces()
        if "w" in trees:
            mount_workspace()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        wanted = request.pop("tell", "digest")
        reply = carry_out(request)
        if wanted != "nothing":
            seen = all_seen()
            reply["digest"] = digest(json.dumps(seen, sort_keys=True).encode())
            if wanted == "names":
                reply["names"] = {name: facts["facts"][0] for name, facts in seen.items() if facts and "facts" in facts}
                reply["slots"] = kinds()
        print(json.dumps(reply), flush=True)


main()
