"""Holds a number of megabytes. Told by lines on standard input: `turn` changes a little of them, `turns` tells how often
that was done, `fork` tells what a bare fork of this process costs in milliseconds."""
import ctypes
import sys

PIECE = 65536
CHANGED = 32

megabytes = int(sys.argv[1])
pieces = [bytearray(PIECE) for _ in range(megabytes * (1 << 20) // PIECE)]
for piece in pieces:
    for page in range(0, PIECE, 4096):
        piece[page] = 1
turns = 0


def turn():
    global turns
    turns += 1
    for i in range(CHANGED):
        pieces[(turns * CHANGED + i) % len(pieces)][0] = turns & 255
    return turns


def bare_fork():
    library = ctypes.CDLL(sys.argv[2])
    library.bare_fork.restype = ctypes.c_double
    return library.bare_fork()


actions = {"turn": turn, "turns": lambda: turns, "fork": bare_fork}
print("ready", flush=True)
while line := sys.stdin.readline():
    print(actions[line.strip()](), flush=True)
