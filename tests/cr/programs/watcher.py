"""Reads /proc all the time and tells of whatever was not there at first. A line "." each time round.

What it was told at its start is what may be there: itself, and the processes that were there before it.
"""
import os
import re

FIRST = 1


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def entries(path):
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def link(path):
    try:
        return os.readlink(path)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def descriptors(pid):
    """By what kind of thing they are: one on a tree is another file after a checkpoint."""
    found = {}
    for number in entries(f"/proc/{pid}/fd"):
        where = link(f"/proc/{pid}/fd/{number}")
        if int(pid) != os.getpid() and where:
            found[number] = where.split(":")[0]
    return found


def read_whole(path):
    """The kernel hands a text out in pieces: it is read until it has not changed on the way."""
    before, now = None, read(path)
    while before != now:
        before, now = now, read(path)
    return now


def mounts():
    return sorted(line.split()[4] for line in read_whole("/proc/self/mountinfo").splitlines())


def look():
    seen = {"processes": [name for name in entries("/proc") if name.isdigit()]}
    seen["mounts"] = mounts()
    for pid in seen["processes"]:
        status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        if not status:
            continue
        seen[f"{pid} threads"] = entries(f"/proc/{pid}/task")
        seen[f"{pid} name"] = status["Name"]
        seen[f"{pid} parent, tracer, ids"] = [status[key] for key in ("PPid", "TracerPid", "NSpid", "Uid")]
        seen[f"{pid} children"] = read(f"/proc/{pid}/task/{pid}/children").split()
        seen[f"{pid} cgroup"] = re.sub(r"(sb|spare)-[\w-]+", "", read_whole(f"/proc/{pid}/cgroup"))
        seen[f"{pid} runs what it can write"] = " rwxp " in read(f"/proc/{pid}/maps")
        if int(pid) != FIRST:
            seen[f"{pid} descriptors"] = descriptors(pid)
    return seen


wanted = look()
print("ready", flush=True)
while True:
    now = look()
    for key in sorted({*wanted, *now}):
        if wanted.get(key) != now.get(key):
            print(f"{key}: {now.get(key)!r} instead of {wanted.get(key)!r}", flush=True)
    print(".", flush=True)
