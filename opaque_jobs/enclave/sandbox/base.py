"""What any sandbox must be able to do, so that another technology (containers, a virtual machine) can take bubblewrap's place."""

import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from opaque_jobs.errors import InvalidInputError

__all__ = ["ENVIRONMENT", "Ending", "Limits", "Mount", "RunningSandbox", "Sandbox", "SandboxSpec"]

ENVIRONMENT: Final[dict[str, str]] = {
    "HOME": "/tmp",  # noqa: S108 - inside the sandbox this is its own tmpfs
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/opt/python/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHOME": "/opt/python",
    "PYTHONPATH": "/opt/site:/opt/agent",
    "SPARK_HOME": "/opt/site/pyspark",
    "TMPDIR": "/tmp",  # noqa: S108 - as HOME
    "TZ": "UTC",
    "USER": "enclave",
}
"""The whole environment inside; nothing of the host's is passed on."""


class Ending(StrEnum):
    """Why a sandbox is no more."""

    EXITED = "exited"
    KILLED = "killed"
    MEMORY_LIMIT = "memory-limit"
    DISK_LIMIT = "disk-limit"
    TIME_LIMIT = "time-limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one sandbox may use.

    Args:
        memory_bytes: Memory of all its processes and its tmpfs together.
        pids: Processes and threads.
        timeout_s: Seconds from start to end.
        scratch_bytes: Size of `/scratch` (a tmpfs, part of the memory).
        result_bytes: Size of `/scratch/result` (likewise), in which the result is made.
        out_bytes: What it may leave in writable folders.

    Raises:
        InvalidInputError: A limit is not positive.
    """

    memory_bytes: int
    pids: int
    timeout_s: float
    scratch_bytes: int
    result_bytes: int = 1 << 30
    out_bytes: int = 16 << 30

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        if min(self.memory_bytes, self.pids, self.timeout_s, self.scratch_bytes, self.result_bytes, self.out_bytes) <= 0:
            raise InvalidInputError("a limit of the sandbox is not positive", hint="give every limit a value above zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One host file or folder that the inside sees.

    Args:
        source: On the host.
        target: Inside, below `/data`, `/out` or (a developer's live agent) `/opt/agent`.
        writable: Only for a folder of ciphertext that leaves.
    """

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One sandbox.

    Args:
        root: The tree that becomes `/`, read-only.
        argv: Program inside and its arguments. It finds the control socket at `protocol.CONTROL_FD`.
        mounts: Host paths that the inside sees; everything else of the host does not exist there.
        limits: See `Limits`.
    """

    root: Path
    argv: tuple[str, ...]
    mounts: tuple[Mount, ...]
    limits: Limits


class RunningSandbox(Protocol):
    """A sandbox that was started. It ends when its starter's process does, however that ends."""

    @property
    def channel(self) -> socket.socket:
        """The host's end of the control socket."""

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        """Wait for the end of everything inside; None if it still runs."""

    def kill(self) -> None:
        """End everything inside now; returns when it is gone."""


class Sandbox(Protocol):
    """A technology for sandboxes."""

    def start(self, spec: SandboxSpec) -> RunningSandbox:
        """Start one.

        Raises:
            ConfigurationError: The machine lacks what this technology needs.
            SandboxError: It did not start.
        """
