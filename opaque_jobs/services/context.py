"""What every service works with: settings, the store, a clock, and the enclave's runtime."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.protocol.documents import FileDocument
from opaque_jobs.settings import Settings
from opaque_jobs.store.session import Store

__all__ = ["Context", "listed_files", "utc_now"]

_STORAGE: Final = Path("storage")
"""What stored paths inside the storage begin with."""


def utc_now() -> datetime:
    """Give the time now, aware, in UTC."""
    return datetime.now(UTC)


def listed_files(folder: Path) -> tuple[FileDocument, ...]:
    """Return the plain files of a folder, by their names in it; links are left out."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return tuple(FileDocument(name=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size) for path in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Shared by the services of one installation.

    Args:
        settings: Where things are.
        store: The metadata store.
        now: The clock; read once per use case.
        runtime: Gives the enclave's runtime in use, checked.
    """

    settings: Settings
    store: Store
    now: Callable[[], datetime]
    runtime: Callable[[], Runtime]

    def stored_path(self, path: Path) -> str:
        """Give a path as it is stored: relative to the storage or the home, which may be moved, or elsewhere for others."""
        absolute = path.absolute()
        storage, home = self.settings.storage_dir.absolute(), self.settings.home.absolute()
        if absolute.is_relative_to(storage):
            return str(_STORAGE / absolute.relative_to(storage))
        return str(absolute.relative_to(home) if absolute.is_relative_to(home) else absolute)

    def located_path(self, stored: str) -> Path:
        """Give the path behind a stored one."""
        path = Path(stored)
        if path.is_relative_to(_STORAGE):
            return self.settings.storage_dir / path.relative_to(_STORAGE)
        return self.settings.home / path
