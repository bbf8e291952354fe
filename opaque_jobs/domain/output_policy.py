"""What may leave the enclave as a result, checked outside the author's process."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.errors import InvalidInputError

__all__ = ["FULL_LOG_BYTES", "LogKind", "OutputPolicy"]

FULL_LOG_BYTES: Final = 64 * 1024
"""Most that code may print into the log of a real run, where the policy lets it."""


class LogKind(StrEnum):
    """What a real run's log, sealed like the result, may say.

    `WORDS`: the agent's own words, and of an error its class from a fixed list and its line. Code can choose among these, which
    tells about 30 bits per run, and nothing else. `FULL`: whatever the code prints, values of the data too.
    """

    NONE = "none"
    WORDS = "words"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class OutputPolicy:
    """Bounds on a result. A result beyond them is refused whole, never cut.

    Args:
        max_rows: Most rows.
        max_columns: Most top-level columns.
        max_bytes: Most bytes of encrypted Parquet.
        preview_rows: Rows of the sealed preview, at most 1,000.
        log: What a real run's log may say.

    Raises:
        InvalidInputError: A bound is not positive.
    """

    max_rows: int
    max_columns: int
    max_bytes: int
    preview_rows: int
    log: LogKind = LogKind.WORDS

    def __post_init__(self) -> None:
        if min(self.max_rows, self.max_columns, self.max_bytes) < 1 or not 0 <= self.preview_rows <= 1000:
            raise InvalidInputError("the output policy has a bound that is not positive", hint="a preview has at most 1,000 rows")

    @property
    def max_log_bytes(self) -> int:
        """Most bytes of a log that code may print into; such a log is an output, held to the result's bound too."""
        return min(FULL_LOG_BYTES, self.max_bytes)

    @cached_property
    def digest(self) -> str:
        """Digest of the canonical bytes, which every vote names; made once, as numbers do not change."""
        return digest(to_bytes(self))
