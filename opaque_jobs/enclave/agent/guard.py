"""The enclave's first process: it holds the control socket, the lease and the time limit, and starts the agent as its child.

The agent may be busy for long without letting go of Python's interpreter lock, in a message of the author's for example. So
what has to happen in time happens here, in a process that runs nothing else. It never looks into messages, it tells heartbeats
and cancels from them by their bytes. Should this process itself be stuck, the kernel's timer ends it. Its end is the end of
everything inside, keys first of all.

Trust: the agent is trusted, the host is not; the host limits time too, for its own sake.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from opaque_jobs.enclave.agent.places import OUT
from opaque_jobs.protocol.enclave import (
    CONTROL_FD,
    LEASE_S,
    MAX_FRAME_BYTES,
    Cancel,
    FailureWord,
    Finished,
    Heartbeat,
    TimeLimit,
    encode,
    frame,
    parse_message,
)

__all__ = ["clear_output", "guarded"]

_POLL_S: Final = 0.5
_LAST_WORD_S: Final = 5.0
_STUCK_S: Final = 10.0
"""So long after a limit the kernel ends this process, should it not have ended by itself."""
_HEAD: Final = 4
_SHORT: Final = 256
"""A time limit is no longer than this; what is longer is passed on unread."""
_HEARTBEAT: Final = encode(Heartbeat())
_CANCEL: Final = encode(Cancel())
_PR_SET_PDEATHSIG: Final = 1


def guarded(
    agent: Callable[[], object], *, lease_s: float = LEASE_S, out: Path = OUT, connection: socket.socket | None = None
) -> NoReturn:
    """Start the agent as a child that finds its end of the channel at `CONTROL_FD`, and guard it to its end.

    Args:
        agent: What the child does.
        lease_s: So long the agent lives without a heartbeat, once the host has said something.
        out: The output folder, emptied when a run is cut off.
        connection: The host's end; by default the inherited socket.
    """
    host = connection or socket.socket(fileno=CONTROL_FD)
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        ours.close()
        host.close()
        os.dup2(theirs.detach(), CONTROL_FD, inheritable=False)
        agent()
        os._exit(0)
    theirs.close()
    _Guard(host, ours, pid, lease_s=lease_s, out=out).hold()


class _Guard:
    """Passes frames on in both directions, and ends the agent when its time is over."""

    def __init__(self, host: socket.socket, agent: socket.socket, pid: int, *, lease_s: float, out: Path) -> None:
        self._host, self._agent = _Peer(host), _Peer(agent)
        self._pid = pid
        self._lease_s = lease_s
        self._out = out
        self._lease_end = self._deadline = float("inf")

    def hold(self) -> NoReturn:
        """Do so until one of them is gone."""
        while True:
            now = time.monotonic()
            if now > self._lease_end:
                self._cut_off(None)
            if now > self._deadline:
                self._cut_off(FailureWord.TIME_LIMIT)
            for peer in self._ready():
                if not peer.read():
                    self._part(peer)
            for payload in self._host.frames():
                self._from_host(payload)
            for payload in self._agent.frames():
                self._from_agent(payload)

    def _ready(self) -> list["_Peer"]:
        peers = (self._host, self._agent)
        reading, writing, _ = select.select(peers, [each for each in peers if each.waiting], [], _POLL_S)
        for each in writing:
            if not each.write():
                self._part(each)
        return reading

    def _from_host(self, payload: bytes) -> None:
        self._renew()
        if payload == _CANCEL:
            self._cut_off(FailureWord.CANCELLED)
        if payload != _HEARTBEAT:
            self._agent.waiting += frame(payload)

    def _from_agent(self, payload: bytes) -> None:
        message = parse_message(payload) if len(payload) <= _SHORT else None
        if isinstance(message, TimeLimit):
            self._deadline = time.monotonic() + message.seconds
            self._renew()
        else:
            self._host.waiting += frame(payload)

    def _renew(self) -> None:
        now = time.monotonic()
        self._lease_end = now + self._lease_s
        signal.setitimer(signal.ITIMER_REAL, max(1.0, min(self._lease_end, self._deadline) - now + _STUCK_S))

    def _part(self, gone: "_Peer") -> NoReturn:
        """End with the agent, or because the host is gone."""
        if gone is self._host:
            self._cut_off(None)
        _, status = os.waitpid(self._pid, 0)
        for payload in self._agent.frames():
            self._from_agent(payload)
        self._host.flush()
        os._exit(0 if status == 0 else 1)

    def _cut_off(self, word: FailureWord | None) -> NoReturn:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        clear_output(self._out)
        if word is None:
            os._exit(1)
        self._host.waiting += frame(encode(Finished(failure=word.value, reasons=[])))
        self._host.flush()
        os._exit(0)


class _Peer:
    """One end: what came and is no whole frame yet, and what waits to be sent."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._came = bytearray()
        self.waiting = bytearray()

    def fileno(self) -> int:
        """Give the descriptor, for `select`."""
        return self._connection.fileno()

    def read(self) -> bool:
        """Take what is there; False at the end."""
        try:
            data = self._connection.recv(1 << 20)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._came += data
        return bool(data)

    def frames(self) -> list[bytes]:
        """Take the whole frames."""
        found: list[bytes] = []
        while len(self._came) >= _HEAD:
            length = int.from_bytes(self._came[:_HEAD])
            if length > MAX_FRAME_BYTES:
                os._exit(1)
            if len(self._came) < _HEAD + length:
                break
            found.append(bytes(self._came[_HEAD : _HEAD + length]))
            del self._came[: _HEAD + length]
        return found

    def write(self) -> bool:
        """Send what fits; False if nobody is there."""
        try:
            sent = self._connection.send(memoryview(self.waiting)[: 1 << 20])
        except BlockingIOError:
            return True
        except OSError:
            return False
        del self.waiting[:sent]
        return True

    def flush(self) -> None:
        """Send all that waits, within a bounded time."""
        self._connection.settimeout(_LAST_WORD_S)
        with contextlib.suppress(OSError):
            self._connection.sendall(self.waiting)


def clear_output(folder: Path = OUT) -> None:
    """Take back what was written so far."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
