"""Keeps one child process for as long as the thread that asked for it lives, and leaves nothing behind.

Airflow's processes start others (executor workers, task supervisors) that outlive a `kill -9` of the launcher. This small
program, run with the standard library alone, stands between: it dies with its parent (PR_SET_PDEATHSIG), adopts every orphan
below it (PR_SET_CHILD_SUBREAPER) and, when its child ends or it is told to stop, ends all that is left.

Usage: python -I keeper.py PARENT_PID GRACE_S PROGRAM ARGUMENT...
"""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["keep"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ARGUMENTS = 3
_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WATCHED = _STOP | {signal.SIGCHLD}


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _descendants() -> list[int]:
    """Give the living processes below this one, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    wave = [os.getpid()]
    while wave:
        wave = [child for parent in wave for child in children.get(parent, [])]
        found += wave
    return found


def _signal(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap(wanted: int) -> int | None:
    """Collect every ended child; give the wanted one's exit code if it is among them."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == wanted:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def _wait_until(gone: list[int] | None, grace_s: float) -> None:
    """Wait until these processes (None: all below) have ended, at most the grace."""
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        _reap(0)
        living = _descendants()
        if not living if gone is None else not set(gone) & set(living):
            return
        time.sleep(0.05)


def _end_all(child: int, grace_s: float) -> None:
    """End everything below: the child first and alone, for it knows how to end its own workers; then whatever is left."""
    _signal(signal.SIGTERM, [pid for pid in _descendants() if pid == child])
    _wait_until([child], grace_s)
    _signal(signal.SIGTERM, _descendants())
    _wait_until(None, 2.0)
    while left := _descendants():  # a killed process may have forked meanwhile
        _signal(signal.SIGKILL, left)
        _wait_until(None, 0.2)


def keep(parent: int, grace_s: float, command: list[str]) -> int:
    """Run the command until it ends, this process is told to stop, or the parent is gone; give its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:  # it died before the signal was asked for
        return 1
    child = os.fork()
    if child == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        os.execv(command[0], command)  # noqa: S606 - that is what this program is for
    code: int | None = None
    while code is None and signal.sigwait(_WATCHED) == signal.SIGCHLD:
        code = _reap(child)
    _end_all(child, grace_s)
    return 0 if code is None else code % 256


if __name__ == "__main__":
    os.setsid()  # a terminal's Ctrl-C belongs to the launcher, which stops us in order
    sys.exit(keep(int(sys.argv[1]), float(sys.argv[2]), sys.argv[_ARGUMENTS:]))
