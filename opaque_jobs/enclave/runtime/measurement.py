"""What the enclave consists of, as one digest: the value that brokers compare with the approved one.

The manifest is the RFC 8785 list of every entry of the tree; the measurement is the SHA-256 of its bytes. A start compares the
tree with the manifest through a cache of stat values and re-reads only files whose stat changed; `verify_tree` reads everything.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.errors import TrustError

__all__ = ["MANIFEST_NAME", "check_tree", "verify_tree", "write_manifest"]

MANIFEST_NAME: Final = "manifest.json"
_CACHE_NAME: Final = "stat.json"
_ROOT_NAME: Final = "root"
_CHUNK: Final = 1 << 20
_HINT: Final = "rebuild it with: opaque-jobs runtime build"

Entry = dict[str, Any]
Stats = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Found:
    """One entry of the tree before its content is known."""

    path: str
    full: str
    info: os.stat_result

    @property
    def stats(self) -> Stats:
        """What changes when the content does (ctime cannot be set back by an ordinary user)."""
        return (self.info.st_size, self.info.st_mtime_ns, self.info.st_ctime_ns, self.info.st_ino)


def _walk(root: str, prefix: str = "") -> Iterator[_Found]:
    """Yield everything below a folder, sorted by name at each level."""
    with os.scandir(root) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{prefix}/{entry.name}"
        yield _Found(path, entry.path, entry.stat(follow_symlinks=False))
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, path)


def _sha256(path: str) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123 - ten thousand files: a Path each would double the time
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def _entry(found: _Found, known_sha256: str | None) -> Entry:
    """Describe one entry; regular files are read unless their digest is known.

    Raises:
        TrustError: It is a device, socket or pipe.
    """
    mode = stat.S_IMODE(found.info.st_mode)
    if stat.S_ISDIR(found.info.st_mode):
        return {"path": found.path, "type": "dir", "mode": mode}
    if stat.S_ISLNK(found.info.st_mode):
        return {"path": found.path, "type": "link", "target": os.readlink(found.full)}  # noqa: PTH115 - as for open
    if not stat.S_ISREG(found.info.st_mode):
        raise TrustError("the runtime tree holds something that is no file, folder or link", hint=_HINT)
    sha256 = known_sha256 or _sha256(found.full)
    return {"path": found.path, "type": "file", "mode": mode, "size": found.info.st_size, "sha256": sha256}


def write_manifest(base: Path) -> str:
    """Measure `base/root` and write the manifest and the stat cache beside it.

    Returns:
        The measurement, `sha256:<hex>`.

    Raises:
        TrustError: The tree holds a device, socket or pipe.
    """
    found = list(_walk(str(base / _ROOT_NAME)))
    entries = [_entry(one, None) for one in found]
    manifest = canonical_bytes(entries)
    (base / MANIFEST_NAME).write_bytes(manifest)
    _write_cache(base, {one.path: list(one.stats) for one, entry in zip(found, entries, strict=True) if entry["type"] == "file"})
    return digest(manifest)


def check_tree(base: Path) -> str:
    """Check a built tree against its manifest, reading only files whose stat values changed.

    Trust: whoever can write the manifest can change the measurement, and brokers then refuse; whoever can write the stat
    cache, and no one else, could hide a change. Both belong to the account that starts the sandbox.

    Returns:
        The measurement, `sha256:<hex>`.

    Raises:
        TrustError: The tree is not what the manifest says.
    """
    return _compare(base, _read_cache(base))


def verify_tree(base: Path) -> str:
    """As `check_tree`, but read every byte.

    Raises:
        TrustError: The tree is not what the manifest says.
    """
    return _compare(base, {})


def _compare(base: Path, cache: Mapping[str, list[int]]) -> str:
    try:
        manifest = (base / MANIFEST_NAME).read_bytes()
        wanted: dict[str, Entry] = {entry["path"]: entry for entry in json.loads(manifest)}
    except (OSError, ValueError, KeyError, TypeError):
        raise TrustError("the runtime's manifest is missing or unreadable", hint=_HINT) from None
    stats: dict[str, list[int]] = {}
    try:
        for found in _walk(str(base / _ROOT_NAME)):
            entry = wanted.pop(found.path, None)
            current = list(found.stats)
            fresh = entry is not None and entry["type"] == "file" and cache.get(found.path) == current
            if entry is None or _entry(found, entry["sha256"] if fresh else None) != entry:
                raise TrustError("the runtime tree differs from its manifest", hint=_HINT, path=found.path)
            if entry["type"] == "file":
                stats[found.path] = current
    except OSError:
        raise TrustError("the runtime tree cannot be read", hint=_HINT) from None
    if wanted:
        raise TrustError("the runtime tree lacks entries of its manifest", hint=_HINT, path=next(iter(wanted)))
    if stats != cache:
        _write_cache(base, stats)
    return digest(manifest)


def _read_cache(base: Path) -> dict[str, list[int]]:
    try:
        cache = json.loads((base / _CACHE_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _write_cache(base: Path, stats: Mapping[str, list[int]]) -> None:
    """Replace the cache; losing it costs one full read, so a failure is no error."""
    temporary = base / f".{_CACHE_NAME}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(stats))
        temporary.replace(base / _CACHE_NAME)
    except OSError:
        temporary.unlink(missing_ok=True)
