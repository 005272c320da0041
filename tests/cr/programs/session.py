"""A session as one has it at the interpreter: each line is run, what it prints is the answer."""
import sys

scope = {"__name__": "__main__"}
for line in sys.stdin:
    exec(line.replace("\\n", "\n"), scope)
    sys.stdout.flush()
