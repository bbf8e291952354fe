import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opaque_jobs.standalone import keeper

CHILD_WITH_ORPHAN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write("1")
time.sleep(60)
"""
KEEPING_LAUNCHER = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-I", {keeper.__file__!r}, str(os.getpid()), "1", sys.executable, "-c", *sys.argv[1:]])
time.sleep(60)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(code, *arguments, parent=None, grace="1"):
    command = [sys.executable, "-I", keeper.__file__, str(parent or os.getpid()), grace, sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command)


@pytest.fixture
def note(tmp_path):
    return tmp_path / "note"


def test_keeper_told_to_stop_ends_even_a_daemonised_grandchild(note):
    kept = start(CHILD_WITH_ORPHAN, str(note))
    until(lambda: note.exists() and note.read_text())
    orphan = int(note.read_text())
    kept.terminate()
    assert kept.wait(10) == 0
    assert not alive(orphan)


def test_keeper_whose_child_ignores_the_signal_kills_it(note):
    kept = start(STUBBORN, str(note), grace="0.2")
    until(note.exists)
    kept.terminate()
    assert kept.wait(10) == 0


def test_keeper_whose_parent_is_killed_ends_everything(note):
    launcher = subprocess.Popen([sys.executable, "-c", KEEPING_LAUNCHER, CHILD_WITH_ORPHAN, str(note)])
    until(lambda: note.exists() and note.read_text())
    orphan = int(note.read_text())
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    until(lambda: not alive(orphan))


def test_keeper_passes_on_its_childs_exit_code():
    assert start("import sys; sys.exit(7)").wait(10) == 7


def test_keeper_whose_parent_is_gone_already_starts_nothing(note):
    assert start(f"open({str(note)!r}, 'w')", parent=1).wait(10) == 1
    assert not note.exists()
