"""Evidence (RFC 9334): what an attester claims, and the interfaces for making and verifying it.

A verifier is chosen by the kind that the session was opened for, never by what the evidence says about itself. It checks
the evidence's own signature and form; whether measurement and bindings are the wanted ones is the relying party's to compare.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from opaque_jobs.domain.job import TeeKind

__all__ = ["Attester", "Evidence", "EvidenceVerifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Verified claims of one piece of evidence.

    Args:
        kind: What vouches for it.
        measurement: `sha256:<hex>` of the runtime that was started.
        report_data: 48 bytes, see `binding.report_data`.
        init_data: 48 bytes, see `binding.init_data`.
    """

    kind: TeeKind
    measurement: str
    report_data: bytes
    init_data: bytes


class Attester(Protocol):
    """Makes evidence, or is a way to the hardware that does."""

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:
        """Give evidence.

        Args:
            measurement: What the simulator measured; real hardware measures itself and ignores it.
            report_data: 48 bytes chosen by the agent.
            init_data: 48 bytes that bind the run.
        """


class EvidenceVerifier(Protocol):
    """Verifies one kind of evidence."""

    @property
    def kind(self) -> TeeKind:
        """The kind."""

    def verify(self, evidence: bytes, *, now: datetime) -> Evidence:
        """Verify untrusted evidence.

        Raises:
            InvalidInputError: It does not parse.
            TrustError: It does not hold.
        """
