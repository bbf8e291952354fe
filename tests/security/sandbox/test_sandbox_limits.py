"""Bombs, and a starter that dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MEMORY_BOMB = "kept = []\nwhile True: kept.append(bytearray(8 << 20))"
FORKED_MEMORY_BOMB = "os.fork(); os.fork()\n" + MEMORY_BOMB
MEMORY_FILE_BOMB = """
kept = []
while True:
    fd = os.memfd_create("bomb")
    os.write(fd, bytes(8 << 20))
    kept.append(fd)
"""
SHARED_BOMB = """
import mmap
kept = []
while True:
    kept.append(mmap.mmap(-1, 8 << 20))
    kept[-1].write(bytes(8 << 20))
    kept[-1].madvise(mmap.MADV_DONTNEED)
"""
CLOSED_MEMORY_FILE_BOMB = """
libc = ctypes.CDLL(None)
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
while True:
    fd = os.memfd_create("bomb")
    os.write(fd, bytes(8 << 20))
    libc.mmap(None, 8 << 20, 1, 1, fd, 0)  # Python's own mmap would keep a descriptor
    os.close(fd)
    time.sleep(0.01)
"""
EMPTY_FILES_BOMB = """
n = 0
while True:
    os.close(os.open(f"/scratch/{n}", os.O_CREAT | os.O_WRONLY))
    n += 1
"""
NESTED = """
from opaque_jobs.enclave.agent.nesting import nested_command
from opaque_jobs.enclave.agent.places import AUTHOR_FILTER
filter_fd = os.open(AUTHOR_FILTER, os.O_RDONLY)
command = [*nested_command(filter_fd=filter_fd, binds=(), environment={}), "/opt/python/bin/python3", "-c", INSIDE]
said = subprocess.run(command, pass_fds=(filter_fd,), capture_output=True, env={})
tell([said.returncode, (said.stdout + said.stderr).decode()[-2000:]])
"""
NESTED_PREAMBLE = """
import ctypes, errno, json, mmap, os, time
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "worked"
def fill(folder):
    n = 0
    try:
        while n < 1024:
            with open(f"{folder}/{n}", "wb", buffering=0) as file:
                file.write(bytes(1 << 20))
            n += 1
    except OSError as error:
        return [n, errno.errorcode[error.errno]]
    return [n, "worked"]
"""
FORK_BOMB = """
import time
made = 0
try:
    while made < 2000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError as error:
    tell([made, errno.errorcode[error.errno]])
"""
THREAD_BOMB = """
import threading
made = 0
try:
    while made < 2000:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        made += 1
except RuntimeError:
    tell([made, "EAGAIN"])
os._exit(0)
"""
FULL = """
def fill(folder):
    try:
        with open(folder + "/full", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4 << 20))
    except OSError as error:
        return errno.errorcode[error.errno]
tell(fill("/scratch"))
"""


BOMBS = {
    "one": MEMORY_BOMB,
    "forked": FORKED_MEMORY_BOMB,
    "unmapped": MEMORY_FILE_BOMB,
    "shared": SHARED_BOMB,
    "closed": CLOSED_MEMORY_FILE_BOMB,
    "files": EMPTY_FILES_BOMB,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_memory_bomb_is_killed_and_named(probe, bomb):
    assert probe(bomb, memory_bytes=256 << 20).ending == "memory-limit"


def nested(inside: str) -> str:
    return NESTED.replace("INSIDE", repr(NESTED_PREAMBLE + inside))


def test_memory_of_a_sandbox_inside_is_counted_with_the_outer_one(probe):
    fill = "[fill(each) for each in ('/tmp', '/dev/shm')]; time.sleep(60)"

    assert probe(nested(fill), memory_bytes=256 << 20).ending == "memory-limit"


def test_memory_that_no_process_holds_cannot_be_had_in_a_sandbox_inside(ordinary_probe):
    inside = """
tried = {
    "memory file": attempt(lambda: os.memfd_create("bomb")),
    "shared mapping": attempt(mmap.mmap, -1, 1 << 20),
    "zero": attempt(lambda: mmap.mmap(os.open("/dev/zero", os.O_RDWR), 1 << 20)),
    "private mapping": attempt(lambda: mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE)),
    **{folder: fill(folder) for folder in ("/", "/dev", "/proc", "/dev/shm", "/tmp")},
}
print(json.dumps(tried))
"""
    code, said = ordinary_probe(nested(inside)).heard

    assert code == 0, said
    seen = json.loads(said)
    assert seen.pop("private mapping") == "worked"
    assert seen.pop("/tmp") == [256, "ENOSPC"]  # noqa: S108 - inside
    assert seen.pop("/dev/shm") == [64, "ENOSPC"]  # noqa: S108 - inside
    assert seen.pop("zero") in {"ENODEV", "ENOSYS"}
    assert seen == {
        "memory file": "ENOSYS", "shared mapping": "ENOSYS", "/": [0, "EROFS"], "/dev": [0, "EROFS"], "/proc": [0, "EROFS"],
    }  # fmt: skip


@pytest.mark.parametrize("bomb", [FORK_BOMB, THREAD_BOMB], ids=["fork", "thread"])
def test_fork_bomb_is_contained(probe, bomb):
    made, error = probe(bomb, pids=64).heard
    assert made < 64
    assert error == "EAGAIN"


def test_scratch_folder_is_bounded(probe):
    seen = probe(FULL, scratch_bytes=32 << 20)
    assert (seen.heard, seen.ending) == ("ENOSPC", "exited")


def test_out_folder_is_bounded(probe, tmp_path):
    out = tmp_path / "result" / "out"
    out.mkdir(parents=True)
    probe.mounts = [(str(out), "/out", True)]
    code = "for n in range(1000):\n    with open(f'/out/{n}', 'wb') as file: file.write(bytes(1 << 20))\n    time.sleep(0.005)"
    assert probe(code, out_bytes=32 << 20, scratch_bytes=16 << 20).ending == "disk-limit"


def test_time_limit_ends_it(probe):
    began = time.monotonic()
    assert probe("time.sleep(60)", timeout_s=1.0).ending == "time-limit"
    assert time.monotonic() - began < 30


def test_time_limit_ends_what_ignores_signals_and_left_its_session(probe):
    code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
    assert probe(code, timeout_s=1.0).ending == "time-limit"


STARTER = """
import sys, time
from pathlib import Path
from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Limits, SandboxSpec
limits = Limits(memory_bytes=1 << 30, pids=100, timeout_s=60, scratch_bytes=1 << 20)
argv = ("/opt/python/bin/python3", "-c", sys.argv[2])
running = BubblewrapSandbox().start(SandboxSpec(root=Path(sys.argv[1]), argv=argv, mounts=(), limits=limits))
running.channel.recv(2)
print(running.pid, flush=True)
time.sleep(60)
"""


FORKING = "import os, socket, time; os.fork() or os.setsid(); socket.socket(fileno=3).sendall(b'up'); time.sleep(60)"


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()]


def test_starter_killed_hard_takes_everything_along(enclave_runtime):
    project = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(project)}
    command = [sys.executable, "-c", STARTER, str(enclave_runtime.root), FORKING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as starter:
        outermost = int(starter.stdout.readline())
        inside = [outermost]
        for pid in inside:
            inside += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        assert len(inside) >= 4
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        deadline = time.monotonic() + 5
        while _alive(inside) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert _alive(inside) == []
