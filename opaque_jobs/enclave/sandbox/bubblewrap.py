"""The sandbox that needs no daemon and no root: bubblewrap in an unprivileged user namespace.

The inside sees the runtime tree as `/`, the run's ciphertext, its tmpfs and its own loopback. Started by root, it gives root up
before bubblewrap starts, because only then a sandbox inside the sandbox can be made, and because root inside would be root.
"""

import contextlib
import json
import os
import secrets
import select
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from opaque_jobs.enclave.sandbox.base import ENVIRONMENT, Ending, Limits, SandboxSpec
from opaque_jobs.enclave.sandbox.limits import (
    Cgroups,
    LimitMode,
    children_of,
    prepare_cgroups,
    watched_memory_bytes,
)
from opaque_jobs.enclave.sandbox.seccomp import enclave_filters
from opaque_jobs.errors import ConfigurationError, SandboxError

__all__ = ["BubblewrapSandbox", "RunningBubblewrap"]

_STAGE: Final = Path(__file__).with_name("stage.py")
_INSIDE_ID: Final = 1000
_FIRST_UID: Final = 1_879_100_000
"""Above all that distributions, systemd and container engines hand out (systemd's UIDS-GIDS.md)."""
_UIDS: Final = 1 << 16
_NOBODY: Final = 65534
_OPEN_FILES: Final = 65536
_TMP_BYTES: Final = 256 << 20
_SHM_BYTES: Final = 64 << 20
_DATA_BYTES: Final = 1 << 20
_POLL_S: Final = 0.05
_WATCH_S: Final = 0.2
_START_S: Final = 30.0
_GONE_S: Final = 10.0
_ENTER: Final = (
    "import os,resource as r,sys\n"
    "n=int(sys.argv[1])\n"
    "h=r.getrlimit(r.RLIMIT_NPROC)[1]\n"
    "n=n if h==r.RLIM_INFINITY else min(n,h)\n"
    "r.setrlimit(r.RLIMIT_NPROC,(n,n))\n"
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)
"""First program inside: RLIMIT_NPROC set here counts the sandbox's own processes, not all of the host user's."""


class BubblewrapSandbox:
    """Sandboxes by `bwrap`."""

    def start(self, spec: SandboxSpec) -> "RunningBubblewrap":
        """Start one; see `Sandbox.start`.

        Raises:
            ConfigurationError: bubblewrap or libseccomp is missing.
            SandboxError: It did not start.
        """
        program = shutil.which("bwrap")
        if program is None:
            raise ConfigurationError("bubblewrap is missing", hint="install it, on Debian: apt install bubblewrap")
        filters = enclave_filters()
        cgroups = prepare_cgroups(memory_bytes=spec.limits.memory_bytes, pids=spec.limits.pids)
        return RunningBubblewrap(spec, program=program, filters=filters, cgroups=cgroups, uid=_free_uid())


class RunningBubblewrap:
    """One sandbox and the thread that guards it.

    The thread also starts it: the kernel ties the sandbox's life to the thread that made it, so that one must live as long.
    """

    def __init__(self, spec: SandboxSpec, *, program: str, filters: tuple[bytes, ...], cgroups: Cgroups, uid: int | None) -> None:
        self._spec = spec
        self._program = program
        self._filters = filters
        self._cgroups = cgroups
        self._uid = uid
        self._channel, self._inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._started = threading.Event()
        self._stop = threading.Event()
        self._gone = threading.Event()
        self._ending = Ending.EXITED
        self._process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._guard, name="sandbox-guard", daemon=True).start()
        self._started.wait(_START_S)
        if self._process is None:
            self._gone.wait(_START_S)
            self._channel.close()
            raise SandboxError("the sandbox could not be started", hint="find out why with: opaque-jobs doctor")

    @property
    def channel(self) -> socket.socket:
        """The host's end of the control socket."""
        return self._channel

    @property
    def limit_mode(self) -> LimitMode:
        """How memory and processes are limited."""
        return self._cgroups.mode

    @property
    def pid(self) -> int:
        """Process id of the outermost process, on the host."""
        return self._process.pid if self._process else 0

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        """Wait for the end of everything inside; None if it still runs."""
        return self._ending if self._gone.wait(timeout_s) else None

    def kill(self) -> None:
        """End everything inside now; returns when it is gone."""
        self._stop.set()
        self._gone.wait()

    def _guard(self) -> None:
        """Start, watch, end, clean up: the life of the thread."""
        try:
            self._lend_writable_folders(self._uid)
            process = self._spawn()
        except OSError:
            self._clean_up()
            self._started.set()
            self._gone.set()
            return
        self._process = process
        self._started.set()
        first: int | None = None
        try:
            first, ending = self._watch(process)
            self._ending = ending
        finally:
            process.kill()
            process.wait()
            self._cgroups.kill()
            _wait_for(first)
            if self._ending in {Ending.EXITED, Ending.KILLED} and self._cgroups.ran_out_of_memory():
                self._ending = Ending.MEMORY_LIMIT
            self._clean_up()
            self._gone.set()

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[int | None, Ending]:
        """Wait for an end or a reason to end it.

        Returns:
            A descriptor of the first process inside, if it was ever seen, and the reason.
        """
        limits = self._spec.limits
        deadline = time.monotonic() + limits.timeout_s
        next_look = 0.0
        first: int | None = None
        while process.poll() is None:
            if first is None:
                first = _first_inside(process.pid)
            if self._stop.wait(_POLL_S):
                return first, Ending.KILLED
            now = time.monotonic()
            if now >= deadline:
                return first, Ending.TIME_LIMIT
            if now >= next_look:
                next_look = now + _WATCH_S
                breach = self._breach(process.pid, limits)
                if breach is not None:
                    return first, breach
        return first, Ending.EXITED

    def _breach(self, pid: int, limits: Limits) -> Ending | None:
        if self._cgroups.ran_out_of_memory():
            return Ending.MEMORY_LIMIT
        if self._cgroups.mode is LimitMode.WATCH and watched_memory_bytes(pid) > limits.memory_bytes:
            return Ending.MEMORY_LIMIT
        if sum(_folder_bytes(mount.source) for mount in self._spec.mounts if mount.writable) > limits.out_bytes:
            return Ending.DISK_LIMIT
        return None

    def _spawn(self) -> subprocess.Popen[bytes]:
        plan = self._plan()
        with os.fdopen(os.memfd_create("plan"), "w+b") as stream:
            stream.write(json.dumps(plan).encode())
            stream.seek(0)
            descriptors = (stream.fileno(), self._inner.fileno())
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(_STAGE), str(stream.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
                env={},
                cwd="/",
                start_new_session=True,
            )
        self._inner.close()
        return process

    def _plan(self) -> dict[str, object]:
        spec = self._spec
        limits = spec.limits
        file_bytes = max(limits.out_bytes, limits.scratch_bytes, limits.result_bytes)
        return {
            "parent": os.getpid(),
            "uid": self._uid,
            "cgroups": self._cgroups.join_paths(),
            "rlimits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_FSIZE": file_bytes,
                "RLIMIT_NOFILE": _OPEN_FILES,
                "RLIMIT_MEMLOCK": 0,
                "RLIMIT_MSGQUEUE": 0,
                "RLIMIT_RTPRIO": 0,
                "RLIMIT_NICE": 0,
            },
            "sources": [str(spec.root), *(str(mount.source.absolute()) for mount in spec.mounts)],
            "program": self._program,
            "arguments": _arguments(spec),
            "argv": ["/opt/python/bin/python3", "-I", "-S", "-c", _ENTER, str(limits.pids), *spec.argv],
            "filters": [one.hex() for one in self._filters],
            "control": self._inner.fileno(),
            "errors": None,
        }

    def _lend_writable_folders(self, uid: int | None) -> None:
        """Give the writable folders to the user without rights for the time of the run."""
        for mount in self._spec.mounts:
            if mount.writable and uid is not None:
                os.chown(mount.source, uid, uid, follow_symlinks=False)

    def _clean_up(self) -> None:
        with contextlib.suppress(OSError):
            self._inner.close()
        self._cgroups.remove()
        if self._uid is not None:
            for mount in self._spec.mounts:
                if mount.writable:
                    _take_back(mount.source)


def _arguments(spec: SandboxSpec) -> list[str | int]:
    """Give bubblewrap's arguments; a number stands for a source."""
    arguments: list[str | int] = [
        "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
        "--uid", str(_INSIDE_ID), "--gid", str(_INSIDE_ID), "--hostname", "enclave",
        "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv", "--chdir", "/tmp",  # noqa: S108 - inside
        "--ro-bind", 0, "/", "--proc", "/proc",
        "--dev", "/dev", *_tmpfs_arguments(spec.limits), "--remount-ro", "/dev",
        "--perms", "0755", "--size", str(_DATA_BYTES), "--tmpfs", "/data",
    ]  # fmt: skip
    for number, mount in enumerate(spec.mounts, start=1):
        arguments += ["--bind" if mount.writable else "--ro-bind", number, mount.target]
    arguments += ["--remount-ro", "/data"]
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    return arguments


def _tmpfs(limits: Limits) -> dict[str, int]:
    """Give path inside -> size."""
    scratch = {"/scratch": limits.scratch_bytes, "/scratch/result": limits.result_bytes}
    return {"/dev/shm": _SHM_BYTES, **scratch, "/tmp": _TMP_BYTES}  # noqa: S108 - inside


def _tmpfs_arguments(limits: Limits) -> list[str]:
    return [part for path, size in _tmpfs(limits).items() for part in ("--size", str(size), "--tmpfs", path)]


def _free_uid() -> int | None:
    """Give an id that no account has, a fresh one per sandbox; None for an ordinary user, who keeps the own one."""
    if os.geteuid() != 0:
        return None
    uid = _FIRST_UID + secrets.randbelow(_UIDS)
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= uid < first + count:
            return uid
    return _NOBODY


def _first_inside(pid: int) -> int | None:
    """Open the first process of the sandbox's process namespace, whose end is the end of all in it."""
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            return os.pidfd_open(child)
    return None


def _wait_for(descriptor: int | None) -> None:
    """Wait until a process is gone; its descriptor becomes readable then."""
    if descriptor is not None:
        select.select([descriptor], [], [], _GONE_S)
        os.close(descriptor)


def _folder_bytes(folder: Path) -> int:
    total = 0
    for current, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(current, name).lstat().st_size
    return total


def _take_back(folder: Path) -> None:
    """Make the caller the owner again, of files and folders only and without following a link."""
    for current, _, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        os.chown(current, os.geteuid(), os.getegid(), follow_symlinks=False)
        for name in names:
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    os.chown(name, os.geteuid(), os.getegid(), dir_fd=descriptor, follow_symlinks=False)
