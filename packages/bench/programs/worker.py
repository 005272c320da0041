"""Holds a number of megabytes. Told by lines on standard input: `turn` changes 2 MB of them, `dirty N` so many, `turns` tells how
often that was done, `fork` tells what a bare fork of this process costs in milliseconds. `keep` keeps it as it is, and tells the
number of the process to be killed for it to go on from there."""
import ctypes
import os
import sys

PAGE = 4096
PIECE = 16 * PAGE
PAGES_IN_MEGABYTE = (1 << 20) // PAGE

megabytes = int(sys.argv[2])
pieces = [bytearray(PIECE) for _ in range(megabytes * (1 << 20) // PIECE)]
for piece in pieces:
    for page in range(0, PIECE, PAGE):
        piece[page] = 255
turns = 0
next_page = 0


def dirty(count):
    """One byte in each page, with a value that was not there."""
    global turns, next_page
    turns += 1
    for page in range(next_page, next_page + int(count) * PAGES_IN_MEGABYTE):
        pieces[page * PAGE // PIECE % len(pieces)][page * PAGE % PIECE] = turns % 255
    next_page += int(count) * PAGES_IN_MEGABYTE
    return turns


def bare_fork():
    library = ctypes.CDLL(sys.argv[3])
    library.bare_fork.restype = ctypes.c_double
    return library.bare_fork()


def keep():
    child = os.fork()
    if child == 0:
        return os.getpid()
    os.waitpid(child, 0)
    return "back"


actions = {"turn": lambda: dirty(2), "dirty": dirty, "turns": lambda: turns, "fork": bare_fork, "keep": keep}
print("ready", flush=True)
while line := sys.stdin.readline():
    action, *arguments = line.split()
    print(actions[action](*arguments), flush=True)
