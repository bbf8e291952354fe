"""Memory and process limits, by the best means that the machine gives.

cgroup v1 controllers (root), a delegated cgroup v2 subtree (root or a systemd user session), else a watch over the sandbox's own
processes. Whichever it is, `LimitMode` says so: doctor shows it.
"""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

__all__ = ["Cgroups", "LimitMode", "children_of", "descendants_of", "prepare_cgroups", "watched_memory_bytes"]

_PREFIX: Final = "opaque-jobs-"
_CONTROLLERS: Final = ("memory", "pids")
_GONE_S: Final = 10.0
_POLL_S: Final = 0.01
_ABANDONED_S: Final = 3600.0
_INODE_BYTES: Final = 1024
"""About what the kernel keeps for a file in a tmpfs, beside its content."""
_SHARED_MARKS: Final = (b"/memfd:", b"/dev/zero", b"/SYSV")
_MAPS_FIELDS: Final = 6


class LimitMode(StrEnum):
    """How limits are enforced."""

    CGROUP_V1 = "cgroup-v1"
    CGROUP_V2 = "cgroup-v2"
    WATCH = "watch"


@dataclass(slots=True, kw_only=True)
class Cgroups:
    """The control groups of one sandbox; none in watch mode.

    Args:
        mode: How they are enforced.
        folders: One per hierarchy.
    """

    mode: LimitMode
    folders: list[Path] = field(default_factory=list)

    def join_paths(self) -> list[str]:
        """Give the files into which the sandbox's first process writes its id."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def ran_out_of_memory(self) -> bool:
        """Tell whether the kernel had to kill something inside."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    lines = (folder / name).read_text().splitlines()
                    if any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines):
                        return True
        return False

    def kill(self) -> None:
        """Kill every process in them and wait until none is left."""
        deadline = time.monotonic() + _GONE_S
        while self.folders and time.monotonic() < deadline:
            pids = {pid for folder in self.folders for pid in _pids_in(folder)}
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_S)

    def remove(self) -> None:
        """Remove them; a group that still holds a dying process is tried again for a moment."""
        deadline = time.monotonic() + _GONE_S
        while self.folders and time.monotonic() < deadline:
            self.folders = [folder for folder in self.folders if not _removed(folder)]
            if self.folders:
                time.sleep(_POLL_S)


def prepare_cgroups(*, memory_bytes: int, pids: int) -> Cgroups:
    """Make control groups with these limits, as far as the machine allows."""
    for mode, places in ((LimitMode.CGROUP_V2, _v2_places()), (LimitMode.CGROUP_V1, _v1_places())):
        settings = _v2_settings(memory_bytes, pids) if mode is LimitMode.CGROUP_V2 else _v1_settings(memory_bytes, pids)
        groups = Cgroups(mode=mode)
        name = _PREFIX + secrets.token_hex(8)
        wanted = 1 if mode is LimitMode.CGROUP_V2 else len(_CONTROLLERS)
        for place in places:
            _sweep(place)
            if len(groups.folders) < wanted and _made(place / name, settings):
                groups.folders.append(place / name)
        if len(groups.folders) == wanted:
            return groups
        groups.remove()
    return Cgroups(mode=LimitMode.WATCH)


def _sweep(place: Path) -> None:
    """Remove groups whose starter was killed: old ones without a process; a young one may be about to be joined."""
    with contextlib.suppress(OSError):
        for folder in place.glob(f"{_PREFIX}*"):
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                _removed(folder)


def _v1_settings(memory_bytes: int, pids: int) -> list[tuple[str, str, bool]]:
    """Give (file, value, may be absent) of both controllers; each hierarchy has the files of one of them."""
    return [
        ("memory.limit_in_bytes", str(memory_bytes), True),
        ("memory.memsw.limit_in_bytes", str(memory_bytes), True),
        ("pids.max", str(pids), True),
    ]


def _v2_settings(memory_bytes: int, pids: int) -> list[tuple[str, str, bool]]:
    return [
        ("memory.max", str(memory_bytes), False),
        ("pids.max", str(pids), False),
        ("memory.swap.max", "0", True),
        ("memory.oom.group", "1", True),
    ]


def _made(folder: Path, settings: list[tuple[str, str, bool]]) -> bool:
    """Make one group with its limits, or nothing."""
    try:
        folder.mkdir()
    except OSError:
        return False
    try:
        written = 0
        for name, value, may_be_absent in settings:
            if may_be_absent and not (folder / name).exists():
                continue
            (folder / name).write_text(value)
            written += 1
        if written and os.access(folder / "cgroup.procs", os.W_OK):
            return True
    except OSError:
        pass
    _removed(folder)
    return False


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _pids_in(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _own_groups() -> dict[str, str]:
    """Map controller (empty for v2) to the path of this process's group."""
    found: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mount_points() -> Iterator[tuple[str, set[str], str, Path]]:
    """Yield (file system type, options, root within the hierarchy, mount point) of every cgroup mount."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            fields = left.split(" ")
            yield kind, set(options.split(",")), fields[3], Path(fields[4])


def _below(mount: Path, root: str, path: str) -> Path:
    relative = path.removeprefix(root) if root != "/" else path
    return mount / relative.lstrip("/")


def _v1_places() -> list[Path]:
    own = _own_groups()
    return [
        _below(mount, root, own.get(controller, "/"))
        for kind, options, root, mount in _mount_points()
        for controller in _CONTROLLERS
        if kind == "cgroup" and controller in options
    ]


def _v2_places() -> list[Path]:
    """Give the groups from our own upwards in which a child with both controllers can be made and joined."""
    own = _own_groups().get("")
    for kind, _, root, mount in _mount_points():
        if kind == "cgroup2" and own is not None:
            start = _below(mount, root, own)
            chain = [start, *(parent for parent in start.parents if parent.is_relative_to(mount))]
            return [place for place in chain if _delegates(place)]
    return []


def _delegates(place: Path) -> bool:
    try:
        enabled = (place / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
    return set(_CONTROLLERS) <= set(enabled) and os.access(place / "cgroup.procs", os.W_OK)


def children_of(pid: int) -> list[int]:
    """Give the direct children of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names only
            with contextlib.suppress(OSError):
                found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def descendants_of(pid: int) -> list[int]:
    """Give a process and all below it; orphans inside stay below their namespace's first process."""
    found = [pid]
    for one in found:
        found += children_of(one)
    return found


def watched_memory_bytes(pid: int) -> int:
    """Sum what a sandbox, whose outermost process is `pid`, holds in memory and swap.

    Private pages, every tmpfs that is mounted inside (of sandboxes inside it too) but not on the host, and files in memory and
    shared mappings that belong to no mount.

    Units: bytes. Pages shared after a fork may count twice, and shared mappings count whole.
    """
    pids = descendants_of(pid)
    files: dict[int, int] = {}
    for one in pids:
        for inode, size in (*_memory_files(one), *_shared_mappings(one)):
            files[inode] = max(size, files.get(inode, 0))
    return sum(map(_private_bytes, pids)) + sum(files.values()) + sum(_tmpfs_bytes(pids).values())


def _tmpfs_bytes(pids: Sequence[int]) -> dict[int, int]:
    """Map each device of a tmpfs that is the sandbox's own to the memory of its content."""
    known = {device for device, _ in _tmpfs_mounts("self")}
    found: dict[int, int] = {}
    namespaces: dict[str, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            namespaces[os.readlink(f"/proc/{pid}/ns/mnt")] = pid  # noqa: PTH115 - no path is meant
    for pid in namespaces.values():
        for device, place in _tmpfs_mounts(pid):
            if device not in known and device not in found:
                with contextlib.suppress(OSError):
                    path = f"/proc/{pid}/root{place}"
                    if os.stat(path).st_dev == device:  # noqa: PTH116 - else it is covered by another mount
                        usage = os.statvfs(path)
                        blocks = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
                        found[device] = blocks + (usage.f_files - usage.f_ffree) * _INODE_BYTES
    return found


def _tmpfs_mounts(pid: int | str) -> Iterator[tuple[int, str]]:
    """Yield (device, place) of each tmpfs that a process sees."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            if right.startswith("tmpfs "):
                fields = left.split(" ")
                major, _, minor = fields[2].partition(":")
                yield os.makedev(int(major), int(minor)), fields[4].encode().decode("unicode_escape")


def _memory_files(pid: int) -> Iterator[tuple[int, int]]:
    """Yield (inode, bytes) of a process's open files that live in memory without a mount; they need not be mapped."""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as found:
        for entry in found:
            with contextlib.suppress(OSError):
                if os.readlink(entry.path).startswith("/memfd:"):  # noqa: PTH115 - hundreds of them, several times a second
                    info = entry.stat()
                    yield info.st_ino, info.st_blocks * 512


def _shared_mappings(pid: int) -> Iterator[tuple[int, int]]:
    """Yield (inode, end of what is mapped) of memory that is mapped from no mount's file; its file need not be open.

    Pages that were written and then given back by `madvise` are in nobody's counters, so the whole mapping counts.
    """
    with contextlib.suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_bytes()
        if not any(mark in maps for mark in _SHARED_MARKS):
            return
        for line in maps.splitlines():
            fields = line.split(None, 5)
            if len(fields) == _MAPS_FIELDS and fields[5].startswith(_SHARED_MARKS):
                first, _, last = fields[0].partition(b"-")
                yield int(fields[4]), int(fields[2], 16) + int(last, 16) - int(first, 16)


def _private_bytes(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in {"RssAnon", "VmSwap"}:
                total += int(value.split()[0]) * 1024
    return total
