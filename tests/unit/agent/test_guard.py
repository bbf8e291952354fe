"""The guard of the agent, as a process of its own, against a host that is a socket here; the agent is one that never lets go."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

from opaque_jobs.protocol.enclave import (
    BrokerRequest,
    Cancel,
    Channel,
    EvidenceResponse,
    Finished,
    Heartbeat,
    Start,
    Status,
)

START = Start(
    mode="test", run_id="r", job_spec="", bundle="", manifests={}, inputs={}, heap_bytes=1, cores=1, sent_at="now", tee=""
)
PROGRAM = """
import ctypes, os, socket, sys, time
from pathlib import Path
from opaque_jobs.enclave.agent.guard import guarded
from opaque_jobs.protocol.enclave import *
from opaque_jobs.protocol.enclave import Channel
def agent():
    channel = Channel(socket.socket(fileno=CONTROL_FD))
    assert isinstance(channel.receive(), Start)
    Path(sys.argv[1], "half").write_text("half")
    channel.send(Status(word=f"{os.getpid()}"))
    AGENT
hold = ctypes.PyDLL(None).sleep  # sleeps with the interpreter lock held
guarded(agent, lease_s=float(sys.argv[2]), out=Path(sys.argv[1]))
"""


class Guarded:
    def __init__(self, folder, agent: str, *, lease_s: float = 60.0) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        self.folder = folder
        command = [sys.executable, "-c", "import os,sys; os.dup2(int(sys.argv.pop()), 3); exec(sys.argv.pop())"]
        program = PROGRAM.replace("AGENT", agent)
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(folder), str(lease_s), program, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        self.channel = Channel(ours)
        self.channel.send(START)
        self.agent = int(self.channel.receive().word)

    def ended(self) -> int:
        return self.process.wait(20)

    @property
    def agent_lives(self) -> bool:
        with contextlib.suppress(OSError):
            os.kill(self.agent, 0)
            return True
        return False


@pytest.fixture
def guarded(tmp_path):
    made = []

    def start(agent: str, **over: float) -> Guarded:
        made.append(Guarded(tmp_path, agent, **over))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.wait()
        each.channel.close()


def test_guard_time_limit_ends_an_agent_that_holds_the_interpreter_lock(guarded):
    run = guarded("channel.send(TimeLimit(seconds=1)); hold(60)")
    began = time.monotonic()

    assert run.channel.receive() == Finished(failure="time-limit", reasons=[])
    assert run.ended() == 0
    assert time.monotonic() - began < 15
    assert not run.agent_lives
    assert list(run.folder.iterdir()) == []


def test_guard_lease_that_is_not_renewed_ends_an_agent_that_holds_the_interpreter_lock(guarded):
    run = guarded("hold(60)", lease_s=1.0)

    assert run.channel.receive() is None
    assert run.ended() == 1
    assert not run.agent_lives
    assert list(run.folder.iterdir()) == []


def test_guard_heartbeats_are_heard_while_the_agent_is_busy(guarded):
    run = guarded("hold(5); channel.send(Status(word='done'))", lease_s=2.0)
    for _ in range(7):
        time.sleep(0.5)
        run.channel.send(Heartbeat())

    assert run.channel.receive() == Status(word="done")


def test_guard_cancel_is_heard_while_the_agent_is_busy(guarded):
    run = guarded("hold(60)")
    run.channel.send(Cancel())

    assert run.channel.receive() == Finished(failure="cancelled", reasons=[])
    assert run.ended() == 0
    assert not run.agent_lives
    assert list(run.folder.iterdir()) == []


def test_guard_host_that_is_gone_ends_an_agent_that_is_busy(guarded):
    run = guarded("hold(60)")
    run.channel.close()

    assert run.ended() == 1
    assert not run.agent_lives


def test_guard_killed_takes_the_agent_along(guarded):
    run = guarded("hold(60)")
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 5
    while run.agent_lives and time.monotonic() < deadline:
        time.sleep(0.02)

    assert not run.agent_lives


def test_guard_that_is_stuck_is_ended_by_the_kernel(tmp_path):
    code = (
        "import ctypes, opaque_jobs.enclave.agent.guard as g, time\n"
        "class Never:\n  waiting = bytearray()\n"
        "one = g._Guard.__new__(g._Guard)\none._lease_s, one._deadline = -9.0, float('inf')\none._renew()\n"
        "ctypes.PyDLL(None).sleep(60)"
    )

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == -14


def test_guard_passes_messages_on_whole_and_in_order(guarded):
    run = guarded(
        "got = channel.receive(); channel.send(BrokerRequest(request_id=1, org_id='o', method='POST', path='/', cookie='', "
        "body=got.evidence)); channel.send(Finished(failure='', reasons=[])); os._exit(0)"
    )
    text = "x" * (9 << 20)
    run.channel.send(Heartbeat())
    run.channel.send(EvidenceResponse(evidence=text))

    said = run.channel.receive()
    assert isinstance(said, BrokerRequest)
    assert said.body == text
    assert run.channel.receive() == Finished(failure="", reasons=[])
    assert run.channel.receive() is None
    assert run.ended() == 0
    assert (run.folder / "half").exists()


def test_guard_agent_that_dies_is_no_success(guarded):
    run = guarded("os._exit(3)")

    assert run.channel.receive() is None
    assert run.ended() == 1
