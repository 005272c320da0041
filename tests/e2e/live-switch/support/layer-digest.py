"""For every layer directory named on a line of standard input: what it holds, on a line of its own.

Names, types, modes, owners, sizes, times, contents, link targets, device numbers and extended attributes.
Not what reading changes or another name for a file, nor the work directories, which belong to the kernel.
"""
import hashlib
import json
import os
import stat
import sys


def content_of(path, st):
    if stat.S_ISLNK(st.st_mode):
        return os.readlink(path).hex()
    if not stat.S_ISREG(st.st_mode):
        return st.st_rdev
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path):
    st = os.lstat(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = [[name, os.getxattr(path, name, follow_symlinks=False).hex()] for name in names]
    return [path.decode("latin-1"), st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns,
            None if stat.S_ISDIR(st.st_mode) else content_of(path, st), xattrs]


def walk(path):
    yield describe(path)
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            yield describe(entry.path)


def uppers_of(layer):
    trees = sorted(name for name in os.listdir(layer) if name.startswith(b"fs"))
    return [os.path.join(layer, tree, b"upper") for tree in trees]


def contents_of(layer):
    try:
        return [entry for upper in uppers_of(layer) for entry in walk(upper)]
    except FileNotFoundError:
        return None  # it is being removed


for line in sys.stdin.buffer:
    print(json.dumps(contents_of(line.rstrip(b"\n"))), flush=True)
