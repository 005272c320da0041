"""A world of many pages that can each be told apart, and of files that go with those that were changed.

`look N` tells which pages and files are not as they were at first; `act N PAGE` changes one and tells how many were changed so far,
`hang N` never answers, `die N` ends.
"""
import json
import os
import sys

PAGE = 4096
PAGES = int(sys.argv[1]) * 256
OWN = "/srv/own"


def pristine(page):
    return b"%016d" % page * (PAGE // 16)


def look():
    view = memoryview(world)
    changed = [page for page in range(PAGES) if view[page * PAGE : (page + 1) * PAGE] != pristine(page)]
    files = {name: open(f"{OWN}/{name}").read() for name in os.listdir(OWN)}
    return {"pages": {page: world[page * PAGE] for page in changed}, "files": files}


def act(page):
    global steps
    steps += 1
    world[page * PAGE] = steps
    with open(f"{OWN}/{page}", "w") as file:
        file.write(f"{steps}")
    own = {"namespace": os.readlink("/proc/self/ns/pid"), "pid": os.getpid()}
    return {"steps": steps, "files": len(os.listdir(OWN)), **own}


os.mkdir(OWN)
world = bytearray(b"".join(pristine(page) for page in range(PAGES)))
steps = 0
print("ready", flush=True)
for line in sys.stdin:
    question, number, *arguments = line.split()
    if question == "hang":
        continue
    if question == "die":
        sys.exit(3)
    answer = look() if question == "look" else act(int(arguments[0]))
    print(number, json.dumps(answer), flush=True)
