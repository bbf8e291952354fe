"""The rollback guard beside the broker's database: a mark by which an older copy of that, or another's, is noticed.

It is authenticated under a key that only the broker's own keys give: whoever can merely write the file makes no mark.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from opaque_jobs.broker.authentic import Authenticator
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.errors import ConfigurationError, InvalidInputError, TrustError

__all__ = ["Anchor", "Mark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Which database, how many steps it has recorded, and the seal over all that stands in it."""

    identity: str
    steps: int
    seal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authentic:
    """The file: canonical mark, and hexadecimal HMAC over it."""

    mark: str
    mac: str


class Anchor:
    """The newest mark that the broker has answered on, in a file of its own.

    A crash between a step and its mark leaves the database one step ahead, which is allowed; it can never be behind, or further.
    What this cannot notice is a copy of the whole folder: then the log shows releases that the database does not know.

    Args:
        path: The file.
        authenticator: Of the broker's keys.
    """

    def __init__(self, path: Path, authenticator: Authenticator) -> None:
        self._path = path
        self._authenticator = authenticator

    def allows(self, mark: Mark) -> bool:
        """Tell whether a database is the one that last answered, or one step ahead; without a mark only one without steps is.

        Trust: that a database which is ahead is the broker's own says its seal.
        """
        try:
            known = self._known()
        except (OSError, InvalidInputError, TrustError):
            return False
        if known is None:
            return mark.steps == 0
        return mark == known or (mark.identity, mark.steps) == (known.identity, known.steps + 1)

    @property
    def present(self) -> bool:
        """Whether there is a file, readable or not."""
        return self._path.exists()

    @property
    def fresh(self) -> bool:
        """Whether the kept mark is of a database that had not recorded anything."""
        try:
            known = self._known()
        except (OSError, InvalidInputError, TrustError):
            return False
        return known is not None and known.steps == 0

    @property
    def steps(self) -> int:
        """Steps of the kept mark, 0 without a readable one: where a recovered database must go on from."""
        try:
            known = self._known()
        except (OSError, InvalidInputError, TrustError):
            return 0
        return known.steps if known else 0

    def _known(self) -> Mark | None:
        try:
            document = from_bytes(_Authentic, self._path.read_bytes(), what="mark of the broker's database")
        except FileNotFoundError:
            return None
        if not self._authenticator.verifies(document.mark.encode(), document.mac):
            raise TrustError("the broker's mark was changed by somebody else", hint="find out who can write its folder")
        return from_bytes(Mark, document.mark.encode(), what="mark of the broker's database")

    def keep(self, mark: Mark) -> None:
        """Make a mark durable.

        Raises:
            ConfigurationError: It cannot be written; the broker must not answer then.
        """
        text = to_bytes(mark).decode()
        document = _Authentic(mark=text, mac=self._authenticator.mac(text.encode()).hex())
        fresh = self._path.with_name(f".{self._path.name}.{os.urandom(8).hex()}")
        try:
            descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(to_bytes(document))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise ConfigurationError("the broker's mark cannot be written", hint="check its folder and free space") from None
