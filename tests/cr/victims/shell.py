"""A shell with jobs in the background, one of them stopped, that can be waited for; numbers of processes go on."""
import subprocess

from victim import equal, run

JOBS = """
set -m
sleep 1000 &
sleep 1001 & kill -STOP $!
(exit 5) &
until jobs -rp > /tmp/running; jobs -sp > /tmp/stopped
      [ "$(wc -l < /tmp/running) $(wc -l < /tmp/stopped)" = "1 1" ]; do sleep 0.01; done
"""


class Victim:
    def set_up(self):
        self.shell = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True)
        self.ask(JOBS)
        self.pids = self.ask("jobs -p")
        self.next = None

    def ask(self, text):
        self.shell.stdin.write(text + "\necho the end\n")
        self.shell.stdin.flush()
        lines = []
        while (line := self.shell.stdout.readline()) not in ("the end\n", ""):
            lines.append(line)
        return "".join(lines)

    def change(self):
        self.ask("kill -9 %1; wait %1; sleep 77 & sleep 78 &")

    def verify(self):
        equal(self.ask("jobs -rp").split(), self.pids.split()[:1], "the job that runs")
        equal(self.ask("jobs -sp").split(), self.pids.split()[1:2], "the job that is stopped")
        ended = self.ask("kill -9 %1; wait %1 2>/dev/null; echo $?")
        equal([line for line in ended.split("\n") if line.isdigit()], ["137"], "how it ends")
        self.ask("kill -9 %2")
        self.shell.kill()
        self.shell.wait()
        self.set_up()


run(Victim())
