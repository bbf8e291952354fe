"""Results become visible together with their receipt, or not at all.

Everything is written beside its place and made durable; then, inside the transaction that closes the run, the folder takes its
name. A run that is closed already publishes nothing.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from opaque_jobs.errors import ConfigurationError

__all__ = ["discard", "keep_only", "publish", "scratch_folder"]


@contextmanager
def scratch_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder beside `final`; whatever is in it at the end and was not published is removed.

    Raises:
        ConfigurationError: It cannot be made.
    """
    folder = _beside(final)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
    except OSError:
        raise ConfigurationError("the result folder cannot be made", hint="is the disk full, or not writable?") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def discard(final: Path) -> None:
    """Remove what a run that came to nothing has left, published or not."""
    for folder in (_beside(final), final):
        shutil.rmtree(folder, ignore_errors=True)


def _beside(final: Path) -> Path:
    return final.parent / f".{final.name}.tmp"


def keep_only(folder: Path, names: Collection[str]) -> bool:
    """Remove everything but some files at the top; tell whether any is left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()
    return any(folder.iterdir())


def publish(folder: Path, final: Path, *, record: Callable[[Callable[[], None]], None]) -> None:
    """Make a folder durable and give it its final name while the run is being closed.

    Args:
        folder: From `scratch_folder`.
        final: Its final name; must not exist.
        record: Closes the run in one transaction and calls what it is given as its last act.

    Raises:
        OSError: The disk is full or the folder is in the way; nothing is published.
    """
    for path in [*folder.rglob("*"), folder]:
        if os.geteuid() == 0:
            os.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o600)
        _sync(path)

    def rename() -> None:
        folder.rename(final)

    record(rename)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
