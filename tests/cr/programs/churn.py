"""A busy worker: at each step it rewrites some of its memory and ten files, and it tells what all of it adds up to."""
import os
import random
import sys
import zlib

BLOCK = 512 * 1024
BLOCKS = int(sys.argv[1]) if len(sys.argv) > 1 else 48
FILES = 10

blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]
os.makedirs("/srv/churn", exist_ok=True)


def step(number):
    dice = random.Random(number)
    changed = dice.sample(range(BLOCKS), dice.randint(1, max(2, BLOCKS // 5)))
    for index in changed:
        blocks[index][:] = dice.randbytes(BLOCK)
    for _ in range(FILES):
        with open(f"/srv/churn/{dice.randrange(400)}", "wb") as file:
            file.write(dice.randbytes(16 * 1024))
    return len(changed) * BLOCK + FILES * 16 * 1024


def digest():
    total = 0
    for block in blocks:
        total = zlib.crc32(block, total)
    for name in sorted(os.listdir("/srv/churn")):
        with open(f"/srv/churn/{name}", "rb") as file:
            total = zlib.crc32(file.read(), zlib.crc32(name.encode(), total))
    return total


for line in sys.stdin:
    token, action, *arguments = line.split()
    answer = step(int(arguments[0])) if action == "step" else digest()
    sys.stdout.write(f"{token} {answer}\n")
    sys.stdout.flush()
