"""Results become visible together with their receipt, or not at all.

Everything is written beside its place and made durable; then, inside the transaction that closes the run, the folder takes its
name. A run that is closed already publishes nothing.
"""

import errno
import os
import shutil
import stat
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
        _take_over(path)

    def rename() -> None:
        folder.rename(final)

    record(rename)
    _take_over(final.parent, ours=True)


def _take_over(path: Path, *, ours: bool = False) -> None:
    """Make a plain file or folder durable, and this user's alone unless it is so; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        kind = os.fstat(descriptor).st_mode
        if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not ours:
            if os.geteuid() == 0:
                os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, 0o700 if stat.S_ISDIR(kind) else 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
