"""Runs between the host and bubblewrap, as its own short program, and ends by becoming bubblewrap.

What a fork in a threaded host cannot do safely happens here: join the control groups, hide the host's paths behind a private
mount namespace, drop root for good, set hard limits, tie this life to the parent's. Standard library only; reads one JSON
document from the descriptor named in argv.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

_CONTROL_FD: Final = 3
_ARGUMENTS_FD: Final = 4
_FIRST_FILTER_FD: Final = 5
_CLONE_NEWNS: Final = 0x00020000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 0x40000
_MS_NOSUID_NODEV: Final = 0x2 | 0x4
_PR_SET_PDEATHSIG: Final = 1
_STAGING: Final = "/tmp"  # noqa: S108 - in a mount namespace of our own, where a fresh tmpfs hides the machine's
_OOM_SCORE: Final = "700"
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _checked(_LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()))


def _staged(sources: list[str]) -> list[str]:
    """Bind every source below a tmpfs that anyone may enter, because the user without rights may not walk the host's folders."""
    _checked(_LIBC.unshare(_CLONE_NEWNS))
    _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    opened = [os.open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC) for source in sources]
    folders = [Path(source).is_dir() for source in sources]
    _mount("staging", _STAGING, "tmpfs", _MS_NOSUID_NODEV, "mode=0755,size=1m")
    targets = []
    for number, (descriptor, is_folder) in enumerate(zip(opened, folders, strict=True)):
        target = f"{_STAGING}/{number}"
        if is_folder:
            Path(target).mkdir()
        else:
            Path(target).touch()
        _mount(f"/proc/self/fd/{descriptor}", target, "none", _MS_BIND)
        targets.append(target)
        os.close(descriptor)
    return targets


def _drop(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _die_with(parent: int) -> None:
    """Ask for SIGKILL when the parent goes; changing the user clears this, so it comes after."""
    _checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit(1)


def _limit(limits: dict[str, int]) -> None:
    for name, wanted in limits.items():
        which = getattr(resource, name, None)
        if which is not None:
            _, hard = resource.getrlimit(which)
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(which, (value, value))


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("stage")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _lay_descriptors(errors: int | None, control: int, contents: list[bytes]) -> None:
    """Leave exactly: null, null, null (or a probe's pipe), control socket, bubblewrap's arguments, filters."""
    null = os.open(os.devnull, os.O_RDWR)
    wanted = [null, null, null if errors is None else errors, control, *map(_in_memory, contents)]
    high = [os.dup(descriptor) for descriptor in wanted]
    base = max(high) + 1
    moved = [os.dup2(descriptor, base + index) for index, descriptor in enumerate(high)]
    for number, descriptor in enumerate(moved):
        os.dup2(descriptor, number, inheritable=True)
    os.closerange(len(moved), os.sysconf("SC_OPEN_MAX"))


def main(plan: dict[str, Any]) -> NoReturn:
    """Prepare the process and become bubblewrap.

    Args:
        plan: `parent`, `uid` (null for an ordinary user), `cgroups`, `rlimits`, `sources`, `program`, `arguments` (texts, and
            numbers that stand for a source), `argv`, `filters` (hex), and the descriptors `control` and `errors` (or null).
    """
    for path in plan["cgroups"]:
        Path(path).write_text(str(os.getpid()))
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    sources = plan["sources"]
    if plan["uid"] is not None:
        sources = _staged(sources)
        _drop(plan["uid"])
    _die_with(plan["parent"])
    _limit(plan["rlimits"])
    os.umask(0o077)
    arguments = [sources[part] if isinstance(part, int) else part for part in plan["arguments"]]
    filters = [bytes.fromhex(text) for text in plan["filters"]]
    for index in range(len(filters)):
        arguments += ["--add-seccomp-fd", str(_FIRST_FILTER_FD + index)]
    packed = b"".join(os.fsencode(part) + b"\0" for part in arguments)
    _lay_descriptors(plan["errors"], plan["control"], [packed, *filters])
    os.execve(plan["program"], ["bwrap", "--args", str(_ARGUMENTS_FD), "--", *plan["argv"]], {})  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as stream:
        main(json.load(stream))
