"""A folder of this machine as storage. A file appears under its name when it is whole and on disk."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from opaque_jobs.errors import ConfigurationError, NotFoundError
from opaque_jobs.storage.base import BLOCK_BYTES, check_key

__all__ = ["FolderStorage"]


class FolderStorage:
    """See `Storage`.

    Args:
        root: The folder; made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        """See `Storage.put`."""
        path = self._path(key)
        fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            size = _write(fresh, blocks)
            _clear_empty(path)
            fresh.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise ConfigurationError(f"the storage cannot be written: {error.strerror}", hint="is the disk full?") from None
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
        return size

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Storage.get`."""
        path = self._path(key)
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError("there is no such file in the storage", hint="was it removed?") from None
        except OSError as error:
            raise ConfigurationError(f"the storage cannot be read: {error.strerror}", hint="check who owns it") from None
        return _blocks(file, start, end)

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """See `Storage.sizes`."""
        folder = self._path(prefix)
        found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
        return {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in found
            if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        }

    def remove(self, prefix: str) -> None:
        """See `Storage.remove`."""
        path = self._path(prefix)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    @contextlib.contextmanager
    def local(self, prefix: str) -> Iterator[Path]:
        """See `Storage.local`."""
        folder = self._path(prefix)
        if not folder.is_dir():
            raise NotFoundError("there is no such folder in the storage", hint="was it removed?")
        yield folder

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)


def _clear_empty(path: Path) -> None:
    """Remove what is left of a folder whose files are gone, where a file is to be: keys are names, and have no folders."""
    if path.is_dir() and not path.is_symlink():
        for each in sorted((path, *path.rglob("*")), reverse=True):
            each.rmdir()


def _write(path: Path, blocks: Iterable[bytes]) -> int:
    size = 0
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        for block in blocks:
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return size


def _blocks(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = None if end is None else max(0, end - start)
        while block := file.read(BLOCK_BYTES if left is None else min(left, BLOCK_BYTES)):
            yield block
            left = None if left is None else left - len(block)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
