"""What every victim does: sets its state up, and then what it is told by lines on standard input.

set_up    once, at the start
change    leaves that state
verify    fails (raises) unless the state is the one that was set up
"""
import sys
import traceback


def must(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(got, wanted, what):
    must(got == wanted, f"{what}: {got!r} instead of {wanted!r}")


def attempt(action, done):
    try:
        action()
        return done
    except BaseException:
        return "failed: " + traceback.format_exc().replace("\n", "\\n")


def run(victim):
    print(attempt(victim.set_up, "ready"), flush=True)
    while line := sys.stdin.readline():
        action = line.strip()
        print(attempt(getattr(victim, action), f"{action} done"), flush=True)
