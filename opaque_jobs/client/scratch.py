"""Private folders in a member's home for files on their way; they are gone when what they are for is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from opaque_jobs.errors import ConfigurationError

__all__ = ["scratch"]


@contextmanager
def scratch(home: Path, kind: str) -> Iterator[Path]:
    """Hold an empty folder that only its owner can enter.

    Args:
        home: The member's; on a disk with room for what comes.
        kind: Word in the folder's name.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        made = TemporaryDirectory(prefix=f".{kind}-", dir=home, ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigurationError(
            f"no folder can be made in {home}: {error.strerror}", hint="check who owns it and the free space"
        ) from None
    with made as name:
        yield Path(name)
