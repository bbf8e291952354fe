"""What this machine lacks for runs, and how to mend it: each check says what it saw and what to type."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from opaque_jobs.enclave.runtime import Runtime, find_runtime
from opaque_jobs.enclave.runtime.archive import ARCHIVE_NAME
from opaque_jobs.enclave.runtime.build import NEEDED_BYTES
from opaque_jobs.enclave.runtime.java import JAVA
from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Limits, SandboxSpec
from opaque_jobs.enclave.sandbox.limits import LimitMode, prepare_cgroups
from opaque_jobs.enclave.sandbox.seccomp import enclave_filters
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.settings import Settings

__all__ = ["Check", "CheckState", "Machine", "run_checks"]

_PYTHONS: Final = ((3, 11), (3, 14))
"""First supported minor version, and the first that is not."""
_BWRAP: Final = (0, 6, 0)
_WANTED_MEMORY: Final = 4 << 30
_LEAST_MEMORY: Final = 2 << 30
_GIB: Final = 1 << 30
_TEE_DEVICES: Final = {
    "/dev/sev-guest": "AMD SEV-SNP",
    "/dev/tdx_guest": "Intel TDX",
    "/dev/tdx-guest": "Intel TDX",
}
_NITRO_DEVICE: Final = "/dev/nsm"
_TSM_FOLDER: Final = "/sys/kernel/config/tsm/report"


class CheckState(StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Args:
        name: What was looked at, two or three words.
        state: `fail` means that runs cannot work.
        what: What was seen, one sentence.
        mend: What to type or do; empty when all is well.
    """

    name: str
    state: CheckState
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the checks look; another root lets tests show them another machine.

    Args:
        root: In front of every path of /proc, /sys and /dev.
        path: Search path of programs.
        free_bytes: Gives the free disk at a folder.
    """

    root: Path = Path("/")
    path: str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def read(self, path: str) -> str:
        """Give a small file's text; empty if it does not exist."""
        try:
            return (self.root / path.lstrip("/")).read_text().strip()
        except OSError:
            return ""

    def has(self, path: str) -> bool:
        """Tell whether a path exists."""
        return (self.root / path.lstrip("/")).exists()


def run_checks(settings: Settings, *, ports: Mapping[str, int] | None = None, machine: Machine | None = None) -> list[Check]:
    """Look at everything that a run needs; nothing is changed, and no check raises.

    Args:
        settings: The installation.
        ports: Name -> port on 127.0.0.1 that will be listened on.
        machine: Where to look.
    """
    here = machine or Machine()
    runtime, checks = _runtime(settings)
    return [
        _python(sys.version_info[:3]),
        _pip(),
        *checks,
        _java(runtime),
        _bubblewrap(here),
        _user_namespaces(here),
        _seccomp(),
        _sandbox(runtime),
        _limits(),
        _memory(here),
        _swap(here),
        _disk(settings, here),
        *_ports(ports or {}),
        _hardware(here),
    ]


def _ok(name: str, what: str) -> Check:
    return Check(name=name, state=CheckState.OK, what=what)


def _warn(name: str, what: str, mend: str) -> Check:
    return Check(name=name, state=CheckState.WARN, what=what, mend=mend)


def _fail(name: str, what: str, mend: str) -> Check:
    return Check(name=name, state=CheckState.FAIL, what=what, mend=mend)


def _python(version: Sequence[int]) -> Check:
    text = ".".join(map(str, version))
    first, beyond = _PYTHONS
    if first <= tuple(version[:2]) < beyond:
        return _ok("Python", f"version {text}")
    return _fail(
        "Python", f"version {text} is not supported", "use Python 3.11, 3.12 or 3.13, on Debian: apt install python3 python3-venv"
    )


def _pip() -> Check:
    if importlib.util.find_spec("pip"):
        return _ok("pip", "is there to fetch the enclave's packages")
    return _fail("pip", "is missing, so the enclave's packages cannot be fetched", "python -m ensurepip, or: uv pip install pip")


def _runtime(settings: Settings) -> tuple[Runtime | None, list[Check]]:
    name = "Enclave runtime"
    try:
        found = find_runtime(settings)
    except OpaqueJobsError as error:
        return None, [_fail(name, error.message, error.hint)]
    if found is None:
        return None, [_warn(name, "is not built yet (the first run would build it)", "opaque-jobs runtime build")]
    if settings.engine_cache and not (found.root / "opt" / "jars" / ARCHIVE_NAME).exists():
        mend = f"close other programs, remove {found.root.parent} and run: opaque-jobs runtime build"
        return found, [_warn(name, "is intact, but without Java's start-up cache: engines start slowly", mend)]
    return found, [_ok(name, f"is built and intact, {found.measurement}")]


def _java(runtime: Runtime | None) -> Check:
    if runtime is None:
        return _ok("Java", "comes with the enclave runtime; nothing to install")
    done = _run([str(runtime.root / JAVA), "-version"])
    if done is None or done.returncode != 0:
        return _fail("Java", "of the enclave runtime does not start", "opaque-jobs runtime build")
    version = re.search(rb'version "([^"]+)"', done.stderr)
    return _ok("Java", f"{version[1].decode('ascii', 'replace') if version else 'unknown'}, from the enclave runtime")


def _bubblewrap(machine: Machine) -> Check:
    program = shutil.which("bwrap", path=machine.path)
    mend = "apt install bubblewrap (Debian, Ubuntu); dnf install bubblewrap (Fedora)"
    done = _run([program, "--version"]) if program else None
    if done is None:
        return _fail("bubblewrap", "is missing", mend)
    version = tuple(map(int, re.findall(rb"\d+", done.stdout)[:3]))
    text = ".".join(map(str, version))
    if version < _BWRAP:
        return _fail("bubblewrap", f"version {text} is too old", mend + "; 0.6 or newer is needed")
    return _ok("bubblewrap", f"version {text}")


def _user_namespaces(machine: Machine) -> Check:
    name = "User namespaces"
    if machine.read("/proc/sys/user/max_user_namespaces") == "0":
        return _fail(name, "are switched off", "sysctl -w user.max_user_namespaces=15000 (and in /etc/sysctl.d/)")
    if machine.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return _fail(name, "are for root only", "sysctl -w kernel.unprivileged_userns_clone=1 (and in /etc/sysctl.d/)")
    if machine.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return _warn(
            name,
            "are restricted by AppArmor",
            "apt install apparmor-profiles && ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ "
            "&& systemctl reload apparmor; or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    return _ok(name, "are allowed")


def _seccomp() -> Check:
    try:
        enclave_filters()
    except OpaqueJobsError as error:
        return _fail("seccomp", error.message, error.hint)
    return _ok("seccomp", "system calls can be filtered")


def _sandbox(runtime: Runtime | None) -> Check:
    """Start a real one."""
    if runtime is None:
        return _warn("Sandbox", "cannot be tried before the runtime is built", "opaque-jobs runtime build")
    code = "import socket; socket.socket(fileno=3).sendall(b'up')"
    limits = Limits(memory_bytes=256 << 20, pids=32, timeout_s=20, scratch_bytes=1 << 20)
    argv = ("/opt/python/bin/python3", "-I", "-S", "-c", code)
    mend = (
        "in a container: run it with --privileged, or start it as an ordinary user on the host; else see 'User namespaces' above"
    )
    try:
        running = BubblewrapSandbox().start(SandboxSpec(root=runtime.root, argv=argv, mounts=(), limits=limits))
    except OpaqueJobsError as error:
        return _fail("Sandbox", error.message, mend)
    said = running.channel.recv(8)
    running.kill()
    running.channel.close()
    return _ok("Sandbox", "starts and ends") if said == b"up" else _fail("Sandbox", "does not start", mend)


def _limits() -> Check:
    groups = prepare_cgroups(memory_bytes=1 << 30, pids=100)
    mode = groups.mode
    groups.remove()
    if mode is LimitMode.WATCH:
        return _warn(
            "Limits",
            "memory is watched five times a second instead of limited by the kernel",
            "start from a session with delegated control groups: systemd-run --user --scope -p Delegate=yes opaque-jobs up",
        )
    return _ok("Limits", f"memory and processes are limited by the kernel ({mode})")


def _memory(machine: Machine) -> Check:
    available = _meminfo(machine, "MemAvailable")
    what = f"{available / _GIB:.1f} GiB available"
    if available < _LEAST_MEMORY:
        return _fail("Memory", what, "a run needs at least 2 GiB: close programs or use a larger machine")
    if available < _WANTED_MEMORY:
        return _warn("Memory", what, "4 GiB or more let Spark work without spilling")
    return _ok("Memory", what)


def _swap(machine: Machine) -> Check:
    if len(machine.read("/proc/swaps").splitlines()) > 1:
        return _warn("Swap", "is on: memory of a run could reach the disk", "swapoff -a, or encrypt the swap device")
    return _ok("Swap", "is off")


def _disk(settings: Settings, machine: Machine) -> Check:
    folder = next(place for place in (settings.home, *settings.home.parents) if place.exists())
    free = machine.free_bytes(folder)
    what = f"{free / _GIB:.1f} GiB free"
    if free < NEEDED_BYTES:
        return _warn("Disk", what, "the first build of the runtime needs 4 GiB: free some, or set OPAQUE_JOBS_HOME elsewhere")
    return _ok("Disk", what)


def _ports(ports: Mapping[str, int]) -> Iterator[Check]:
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield _warn(
                    f"Port {port}", f"for {name} is in use", "stop what listens there (ss -ltnp) or choose another with --port"
                )
            else:
                yield _ok(f"Port {port}", f"for {name} is free")


def _hardware(machine: Machine) -> Check:
    name = "Hardware attestation"
    devices = " and ".join(sorted({kind for path, kind in _TEE_DEVICES.items() if machine.has(path)}))
    if machine.has(_TSM_FOLDER):
        through = f"{devices} through configfs-tsm" if devices else "configfs-tsm"
        return _ok(name, f"this machine offers {through}: OPAQUE_JOBS_ATTESTER=tsm uses it")
    if devices:
        return _warn(
            name,
            f"this machine offers {devices}, but not the kernel's folder for it ({_TSM_FOLDER})",
            "mount -t configfs none /sys/kernel/config, on Linux 6.7 or newer; or OPAQUE_JOBS_ATTESTER=coco",
        )
    if machine.has(_NITRO_DEVICE):
        return _warn(
            name,
            "this machine offers AWS Nitro, whose documents are verified here, but not collected",
            "run on a confidential virtual machine (AMD SEV-SNP, Intel TDX)",
        )
    return _warn(
        name,
        "none here: runs use simulated attestation, and this machine's administrator is trusted",
        "use a confidential virtual machine (AMD SEV-SNP, Intel TDX)",
    )


def _meminfo(machine: Machine, key: str) -> int:
    match = re.search(rf"^{key}:\s+(\d+) kB$", machine.read("/proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=30, env={"PATH": os.defpath}
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
