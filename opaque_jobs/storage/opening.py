"""From what a person writes to a storage."""

from pathlib import Path
from typing import Any

from opaque_jobs.storage.base import Storage
from opaque_jobs.storage.folder import FolderStorage

__all__ = ["open_storage"]


def open_storage(address: str | Path, **options: Any) -> Storage:
    """Give the storage at a folder's path, or at an address with a protocol.

    Args:
        address: `/srv/opaque-jobs`, or `s3://bucket/path`.
        options: Of the protocol's file system, as fsspec takes them.

    Raises:
        ConfigurationError: The protocol is not installed.
    """
    if isinstance(address, Path) or "://" not in address:
        return FolderStorage(Path(address))
    from opaque_jobs.storage.remote import RemoteStorage  # noqa: PLC0415 - few need what fsspec loads

    return RemoteStorage(address, **options)
