"""The port: what the coordinator needs of a place for files, whatever it is."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from opaque_jobs.errors import InvalidInputError

__all__ = ["BLOCK_BYTES", "Storage", "check_key"]

BLOCK_BYTES: Final = 1 << 20
"""What is moved at once."""
_KEY: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,127}/){0,7}[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_key(key: str) -> str:
    """Give back a key that can mean nothing but a file below the storage's root.

    Raises:
        InvalidInputError: It could lead elsewhere.
    """
    if not _KEY.fullmatch(key):
        raise InvalidInputError("a file's key in the storage is not valid", hint="letters, digits, '.', '_', '-', parted by '/'")
    return key


class Storage(Protocol):
    """A place for files. Safe to use from several threads and processes.

    Every method checks its key, and raises `ConfigurationError` where the place cannot be reached or is full.
    """

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        """Write a file, whole or not at all, in place of one that may be there; give its size in bytes."""

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give a file's bytes from `start` up to, not including, `end`, in blocks.

        Raises:
            NotFoundError: There is no such file.
        """

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """Give the files below a prefix (a key without its last parts), by the rest of their key, with their sizes in bytes."""

    def remove(self, prefix: str) -> None:
        """Remove a file, or all below a prefix; nothing happens where there is none."""

    def local(self, prefix: str) -> AbstractContextManager[Path]:
        """Give a folder with the files below a prefix, or with copies that are gone afterwards; nothing in it may be changed.

        Raises:
            NotFoundError: There is none.
        """
