"""Programs started by another one, that it waits for: by pipes, by status, by a descriptor of the process's end."""
import subprocess
import sys

from victim import equal, run

PROGRAM = """
import sys
words = [str(i) for i in range(50_000)]
for line in sys.stdin:
    if line == "end\\n":
        sys.exit(42)
    print(len(words), line.strip(), flush=True)
"""


class Victim:
    def set_up(self):
        self.start()

    def start(self):
        self.programs = [subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, text=True) for _ in range(2)]
        self.pids = [program.pid for program in self.programs]

    def ask(self, program, line):
        program.stdin.write(line + "\n")
        program.stdin.flush()
        return program.stdout.readline()

    def change(self):
        self.programs[0].kill()
        self.programs[0].wait()
        equal(self.ask(self.programs[1], "changed"), "50000 changed\n", "its answer")

    def verify(self):
        for program in self.programs:
            equal(program.poll(), None, "whether it has ended")
            equal(self.ask(program, "hello"), "50000 hello\n", "its answer")
        program = self.programs[0]
        program.stdin.write("end\n")
        program.stdin.flush()
        equal(program.wait(10), 42, "how it ends")
        self.programs[1].kill()
        equal(self.programs[1].wait(10), -9, "how it is ended")
        self.start()


run(Victim())
