"""What an agent's worker does: it holds an index of a repository in memory, and looks at it and changes it.

`act SEED` draws an action from the seed and does it, `tell` says what it has in memory and what is on disk; each line is answered
with its number.
"""
import hashlib
import os
import random
import re
import subprocess
import sys

ROOT = sys.argv[1]


class Worker:
    def __init__(self):
        self.files = {}
        for directory, _, names in os.walk(ROOT):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, errors="replace") as file:
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
        with open(path, "w", errors="replace") as file:
            file.write(text)
        self.index(path)

    def view(self, draw):
        return self.files[self.any(draw)][:1000]

    def find(self, draw):
        return self.names[draw.choice(sorted(self.names))]

    def grep(self, draw):
        word = draw.choice(("import", "return None", "raise", "lambda"))
        return sum(word in text for text in self.files.values())

    def replace(self, draw):
        path = self.any(draw)
        self.write(path, self.files[path].replace("self", f"self{draw.randrange(100)}", 20))

    def create(self, draw):
        name = f"made_{draw.randrange(10**9)}"
        self.write(f"{ROOT}/{name}.py", f"def {name}():\n    return {draw.random()}\n" * draw.randrange(1, 200))

    def append(self, draw):
        path = self.any(draw)
        self.write(path, self.files[path] + f"\n# {draw.random()}\n")

    def remove(self, draw):
        path = self.any(draw)
        os.unlink(path)
        del self.files[path]
        for paths in self.names.values():
            paths.discard(path)

    def compile(self, draw):
        """Runs a program, which leaves something behind."""
        command = [sys.executable, "-m", "py_compile", self.any(draw)]
        return subprocess.run(command, capture_output=True, text=True).stderr

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
        for directory, directories, names in os.walk(ROOT):
            directories.sort()
            for name in sorted(names):
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    digest.update(path.encode() + file.read())
        return digest.hexdigest()


worker = Worker()
for line in sys.stdin:
    question, number, *seed = line.split()
    if question == "act":
        worker.act(int(seed[0]))
        print(number, "done", flush=True)
    else:
        print(number, worker.in_memory(), worker.on_disk(), flush=True)
