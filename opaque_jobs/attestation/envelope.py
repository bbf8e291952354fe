"""Hardware evidence as it travels: the report, with everything that a verifier needs to judge it without asking anybody.

Trust: the host puts certificates, revocation lists and Intel's documents beside the report. That gives it no power: makers
signed them, and the policy says how old they may be. Leaving one out gives no keys.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from opaque_jobs.crypto.keys import decode_base64
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError

__all__ = ["MAX_EVIDENCE_BYTES", "EvidenceEnvelope"]

MAX_EVIDENCE_BYTES: Final = 4 << 20
_MAX_ITEMS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceEnvelope:
    """The bytes that brokers are shown: canonical JSON of this.

    Args:
        v: Format version, 1.
        kind: What it claims to be; whoever verifies asks for a kind and takes no other.
        report: Base64 of the report, quote or document.
        collateral: Base64 of each file that came with it: certificates, revocation lists, Intel's documents.
    """

    v: int
    kind: TeeKind
    report: str
    collateral: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.v != 1 or self.kind is TeeKind.SIMULATED or len(self.collateral) > _MAX_ITEMS:
            raise InvalidInputError("hardware evidence is of an unknown version or form", hint="host and broker must match")

    @classmethod
    def of(cls, kind: TeeKind, report: bytes, collateral: Sequence[bytes]) -> Self:
        """Put a report and its files together."""
        encoded = [base64.b64encode(each).decode("ascii") for each in (report, *collateral)]
        return cls(v=1, kind=kind, report=encoded[0], collateral=tuple(encoded[1:]))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse untrusted bytes.

        Raises:
            InvalidInputError: They are something else, or too long.
        """
        if len(data) > MAX_EVIDENCE_BYTES:
            raise InvalidInputError(
                "hardware evidence is too long", hint="was the right file given?", limit_bytes=MAX_EVIDENCE_BYTES
            )
        return from_bytes(cls, data, what="hardware evidence")

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)

    @property
    def report_bytes(self) -> bytes:
        """The report.

        Raises:
            InvalidInputError: It is not base64.
        """
        return decode_base64(self.report, what="hardware evidence")

    @property
    def collateral_bytes(self) -> tuple[bytes, ...]:
        """The files that came with it.

        Raises:
            InvalidInputError: One is not base64.
        """
        return tuple(decode_base64(each, what="hardware evidence") for each in self.collateral)
