"""Any address that fsspec knows (`s3://bucket/path`, `gs://`, `abfs://`, `sftp://`) as storage.

Object stores show an object when its upload is complete. Where a place shows a file as it grows, it is written beside its name
and moved.
"""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from opaque_jobs.errors import ConfigurationError, NotFoundError
from opaque_jobs.storage.base import BLOCK_BYTES, check_key

__all__ = ["RemoteStorage"]

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci"})


class RemoteStorage:
    """See `Storage`.

    Args:
        address: With its protocol.
        options: Of the file system, as fsspec takes them; credentials come from the protocol's own environment.
    """

    def __init__(self, address: str, **options: Any) -> None:
        try:
            files, root = fsspec.url_to_fs(address, use_listings_cache=False, **options)
        except (ImportError, ValueError):
            raise ConfigurationError(
                "the storage's address names a protocol that is not installed", hint="for s3://, pip install s3fs"
            ) from None
        self._files = cast(Any, files)
        self._root = str(root).rstrip("/")
        protocols = {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)
        self._whole = bool(protocols & _OBJECT_STORES)

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        """See `Storage.put`."""
        path = self._path(key)
        target = path if self._whole else f"{path}.partial"
        with _reached():
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                size = _write(self._files.open(target, "wb", block_size=8 * BLOCK_BYTES), blocks)
                if not self._whole:
                    self._files.mv(target, path)
            except BaseException:
                if not self._whole:
                    with contextlib.suppress(Exception):
                        self._files.rm(target)
                raise
        return size

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Storage.get`."""
        path = self._path(key)
        with _reached():
            file = self._files.open(path, "rb", block_size=BLOCK_BYTES)
        return _blocks(file, start, end)

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """See `Storage.sizes`."""
        path = self._path(prefix)
        with _reached():
            try:
                found = self._files.find(path, detail=True)
            except FileNotFoundError:
                return {}
        names = {name.rpartition(f"{path}/")[2] if f"{path}/" in name else "": info for name, info in found.items()}
        return {name: int(info["size"]) for name, info in sorted(names.items()) if name and not name.endswith(".partial")}

    def remove(self, prefix: str) -> None:
        """See `Storage.remove`."""
        path = self._path(prefix)
        with _reached(), contextlib.suppress(FileNotFoundError):
            self._files.rm(path, recursive=True)

    @contextlib.contextmanager
    def local(self, prefix: str) -> Iterator[Path]:
        """See `Storage.local`."""
        names = self.sizes(prefix)
        if not names:
            raise NotFoundError("there is no such folder in the storage", hint="was it removed?")
        with tempfile.TemporaryDirectory(prefix="opaque-jobs-files-") as folder:
            for name in names:
                copy = Path(folder, check_key(name))
                copy.parent.mkdir(parents=True, exist_ok=True)
                with copy.open("wb") as file:
                    for block in self.get(f"{prefix}/{name}"):
                        file.write(block)
            yield Path(folder)

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """Turn what a file system raises into our errors, without its words: they may hold addresses and keys."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError("there is no such file in the storage", hint="was it removed?") from None
    except (ConfigurationError, NotFoundError):
        raise
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        raise ConfigurationError(
            f"the storage cannot be reached ({type(error).__name__})",
            hint="check its address, and the credentials in the environment",
        ) from None


def _write(file: Any, blocks: Iterable[bytes]) -> int:
    """Write a file and close it; closing is what makes an object store show it, so a broken one is never closed in order."""
    size = 0
    try:
        for block in blocks:
            size += file.write(block)
    except BaseException:
        with contextlib.suppress(Exception):
            file.discard()
        with contextlib.suppress(AttributeError):
            file.closed = True
        raise
    file.close()
    return size


def _blocks(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    with file:
        left = None if end is None else max(0, end - start)
        with _reached():
            file.seek(start)
        while True:
            with _reached():
                block = file.read(BLOCK_BYTES if left is None else min(left, BLOCK_BYTES))
            if not block:
                return
            yield block
            left = None if left is None else left - len(block)
