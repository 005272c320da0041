"""Changes some bytes of a file: `in-place`, or `replaced` as editors do, where a new file takes the name of the old one. With `sync`
the disk has it when this ends."""
import os
import sys

path, edit, offset, text, *options = sys.argv[1:]
offset, text = int(offset), text.encode()


def wait_for_disk(fd):
    if "sync" in options:
        os.fsync(fd)


if edit == "in-place":
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(text)
        wait_for_disk(file.fileno())
else:
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[offset : offset + len(text)] = text
    with open(path + ".new", "wb", buffering=0) as file:
        file.write(content)
        wait_for_disk(file.fileno())
    os.rename(path + ".new", path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    wait_for_disk(directory)
