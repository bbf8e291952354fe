"""A mark beside the broker's database by which an older copy of it is noticed."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.errors import ConfigurationError, InvalidInputError

__all__ = ["Anchor", "Mark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Which database, and how many steps it has recorded."""

    identity: str
    steps: int


class Anchor:
    """The newest mark that the broker has answered on, in a file of its own.

    A crash between a step and its mark leaves the database one step ahead, which is allowed; it can never be behind.
    What this cannot notice is a copy of the whole folder: then the log shows releases that the database does not know.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def allows(self, mark: Mark) -> bool:
        """Tell whether a database is the one that last answered, or ahead of it; without a mark only one without steps is."""
        try:
            known = self._known()
        except (OSError, InvalidInputError):
            return False
        return mark.steps == 0 if known is None else known.identity == mark.identity and known.steps <= mark.steps

    @property
    def steps(self) -> int:
        """Steps of the kept mark, 0 without a readable one: where a recovered database must go on from."""
        try:
            known = self._known()
        except (OSError, InvalidInputError):
            return 0
        return known.steps if known else 0

    def _known(self) -> Mark | None:
        try:
            return from_bytes(Mark, self._path.read_bytes(), what="mark of the broker's database")
        except FileNotFoundError:
            return None

    def keep(self, mark: Mark) -> None:
        """Make a mark durable.

        Raises:
            ConfigurationError: It cannot be written; the broker must not answer then.
        """
        fresh = self._path.with_name(f".{self._path.name}.{os.urandom(8).hex()}")
        try:
            descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(to_bytes(mark))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise ConfigurationError("the broker's mark cannot be written", hint="check its folder and free space") from None
