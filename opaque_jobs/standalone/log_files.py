"""Keeps the logs of components small: they append to a file that they hold open, so it is copied and then emptied."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["rotate_logs"]

_MAX_BYTES: Final = 10 << 20
_KEPT: Final = 3


def rotate_logs(folder: Path, *, max_bytes: int = _MAX_BYTES, kept: int = _KEPT) -> None:
    """Move what is in each log above the size aside, keeping the newest few; what is written meanwhile may be lost."""
    for path in folder.glob("*.log"):
        with suppress(OSError):  # a log that cannot be rotated must not stop what writes it
            if path.stat().st_size > max_bytes:
                _rotate(path, kept)


def _rotate(path: Path, kept: int) -> None:
    numbered = [path.with_name(f"{path.name}.{number}") for number in range(1, kept + 1)]
    for older, newer in zip(reversed(numbered[1:]), reversed(numbered[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)
    with path.open("rb") as source, os.fdopen(os.open(numbered[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
        shutil.copyfileobj(source, copy)
    os.truncate(path, 0)
