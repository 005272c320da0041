"""What an agent's worker does: it holds an index of a repository in memory, and looks at it and changes it.

`act SEED` draws an action from the seed and does it, `tell` says what it has in memory and what is on disk; each line is answered
with its number. Wherever the repository is, the same actions lead to the same state; and a worker that has just read the files does to
them what one would that has had them in memory all along.
"""
import hashlib
import os
import random
import re
import subprocess
import sys

ROOT = sys.argv[1]
# What no worker has in memory.
LEFT_OUT = {".git", "__pycache__"}
# What the compiler writes then does not tell when it was written.
REPRODUCIBLE = {**os.environ, "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0"}


def on(path):
    return os.path.join(ROOT, path)


def below_root(left_out):
    for directory, directories, names in os.walk(ROOT):
        directories[:] = sorted(set(directories) - left_out)
        for name in sorted(set(names) - left_out):
            yield os.path.relpath(os.path.join(directory, name), ROOT)


class Worker:
    def __init__(self):
        self.files = {}
        for path in below_root(LEFT_OUT):
            with open(on(path), encoding="utf-8", errors="replace") as file:
                self.files[path] = file.read()
        self.names = {}
        for path in sorted(self.files):
            self.index(path)
        self.history = []

    def index(self, path):
        for kind, name in re.findall(r"^\s*(def|class) (\w+)", self.files[path], re.M):
            self.names.setdefault((kind, name), set()).add(path)

    def write(self, path, text):
        self.files[path] = text
        with open(on(path), "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        self.index(path)

    def view(self, draw):
        return self.files[self.any(draw)][:1000]

    def find(self, draw):
        return sorted(self.names[draw.choice(sorted(self.names))])

    def grep(self, draw):
        word = draw.choice(("import", "return None", "raise", "lambda"))
        return sum(word in text for text in self.files.values())

    def replace(self, draw):
        path = self.any(draw)
        self.write(path, self.files[path].replace("self", f"self{draw.randrange(100)}", 20))

    def create(self, draw):
        name = f"made_{draw.randrange(10**9)}"
        self.write(f"{name}.py", f"def {name}():\n    return {draw.random()}\n" * draw.randrange(1, 200))

    def append(self, draw):
        path = self.any(draw)
        self.write(path, self.files[path] + f"\n# {draw.random()}\n")

    def remove(self, draw):
        path = self.any(draw)
        os.unlink(on(path))
        del self.files[path]
        for paths in self.names.values():
            paths.discard(path)

    def compile(self, draw):
        """Runs a program, which leaves something behind."""
        command = [sys.executable, "-m", "py_compile", self.any(draw)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=REPRODUCIBLE).stderr

    def any(self, draw):
        return draw.choice(sorted(self.files))

    def act(self, seed):
        draw = random.Random(seed)
        actions = (self.view, self.find, self.grep, self.replace, self.create, self.append, self.remove, self.compile)
        action = draw.choice(actions)
        self.history.append((action.__name__, str(action(draw))[:100]))

    def in_memory(self):
        digest = hashlib.sha256(repr(self.history).encode())
        for path in sorted(self.files):
            digest.update(path.encode() + self.files[path].encode(errors="replace"))
        for key in sorted(self.names):
            digest.update(repr((key, sorted(self.names[key]))).encode())
        return digest.hexdigest()

    def on_disk(self):
        digest = hashlib.sha256()
        for path in below_root({".git"}):
            with open(on(path), "rb") as file:
                digest.update(path.encode() + file.read())
        return digest.hexdigest()


def apart(look):
    """In a child: what is looked at stays untouched, which even counting references would not let it be."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, look().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as seen:
        answer = seen.read()
    os.waitpid(child, 0)
    return answer


worker = Worker()
print("ready", flush=True)
for line in sys.stdin:
    question, number, *seed = line.split()
    if question == "act":
        worker.act(int(seed[0]))
        print(number, "done", flush=True)
    else:
        print(number, apart(lambda: f"{worker.in_memory()} {worker.on_disk()}"), flush=True)
