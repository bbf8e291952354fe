"""Whether the files that the host mounted are those that the owners signed: name, size, digest; none missing, none more."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from opaque_jobs.domain.dataset import DatasetManifest, Part
from opaque_jobs.enclave.agent.places import DATA
from opaque_jobs.errors import TrustError

__all__ = ["check_parts"]

_CHUNK: Final = 4 * 1024 * 1024


def check_parts(manifests: Mapping[str, DatasetManifest], *, root: Path = DATA) -> None:
    """Compare every file with its manifest: name, size, digest; nothing missing, nothing more.

    Raises:
        TrustError: A file is not what the owner signed.
    """
    work = [(root / alias / part.name, part) for alias, manifest in manifests.items() for part in manifest.parts]
    for alias, manifest in manifests.items():
        folder = root / alias
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if found != {part.name for part in manifest.parts}:
            raise _refused()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for sound in pool.map(lambda item: _matches(*item), work):
            if not sound:
                raise _refused()


def _refused() -> TrustError:
    return TrustError("a data set's files are not those of its manifest", hint="fetch the data set again from its owner")


def _matches(path: Path, part: Part) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != part.size_bytes:
            return False
        found = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError:
        return False
    return "sha256:" + found.hexdigest() == part.sha256
