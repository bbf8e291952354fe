"""What may leave the enclave as a result, checked outside the author's process."""

from dataclasses import dataclass
from functools import cached_property

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.errors import InvalidInputError

__all__ = ["OutputPolicy"]


@dataclass(frozen=True, kw_only=True)
class OutputPolicy:
    """Bounds on a result. A result beyond them is refused whole, never cut.

    Args:
        max_rows: Most rows.
        max_columns: Most top-level columns.
        max_bytes: Most bytes of encrypted Parquet.
        preview_rows: Rows of the sealed preview, at most 1,000.

    Raises:
        InvalidInputError: A bound is not positive.
    """

    max_rows: int
    max_columns: int
    max_bytes: int
    preview_rows: int

    def __post_init__(self) -> None:
        if min(self.max_rows, self.max_columns, self.max_bytes) < 1 or not 0 <= self.preview_rows <= 1000:
            raise InvalidInputError("the output policy has a bound that is not positive", hint="a preview has at most 1,000 rows")

    @cached_property
    def digest(self) -> str:
        """Digest of the canonical bytes, which every vote names; made once, as numbers do not change."""
        return digest(to_bytes(self))
