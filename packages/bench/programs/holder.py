"""Holds so many files open, for reading or (`w`) for writing. Told by any line on standard input, it tells how many of them say
what they should."""
import os
import sys

count = int(sys.argv[1])
flags = os.O_RDWR if sys.argv[2] == "w" else os.O_RDONLY
content = b"x" * 1000

os.makedirs("/srv/open", exist_ok=True)
held = []
for i in range(count):
    path = f"/srv/open/{i}"
    with open(path, "wb", buffering=0) as file:
        file.write(content)
    held.append(os.open(path, flags))
print("ready", flush=True)
while sys.stdin.readline():
    print(sum(os.pread(one, 2000, 0) == content for one in held), flush=True)
