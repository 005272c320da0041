"""Runs the Python that it reads, one JSON string per line, and replies with the value of its last expression.

All state stays in this process between the lines, so a test can put it in any state, take a checkpoint, and look
what the process has then.
"""
import ast
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import stat
import struct
import sys
import textwrap
import threading
import time
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number, *args):
    """By the bare number, because Python itself would try again after EINTR. The value or -errno."""
    LIBC.syscall.restype = ctypes.c_long
    result = LIBC.syscall(ctypes.c_long(number), *args)
    return -ctypes.get_errno() if result == -1 else result


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def failure(call, *args):
    """The name of the error that the call fails with; None when it does not."""
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def link_fd(fd, name):
    # Only with a directory does Python ask for the link in /proc to be followed.
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)


def send_fds(sock, *fds):
    socket.send_fds(sock, [b"x"], list(fds))


def receive_fds(sock, count=1):
    return socket.recv_fds(sock, 1, count)[1]


def plain(value):
    return value.decode("latin-1") if isinstance(value, bytes) else list(value)


def value_of(code, scope):
    tree = ast.parse(textwrap.dedent(code))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<test>", "exec"), scope)
    if last is not None:
        return eval(compile(ast.Expression(last.value), "<test>", "eval"), scope)


def main():
    for line in sys.stdin:
        try:
            reply = {"value": value_of(json.loads(line), globals())}
        except BaseException:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply, default=plain), flush=True)


main()
