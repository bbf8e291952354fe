"""Evidence (RFC 9334): what an attester claims, and the interfaces for making and verifying it.

A verifier is chosen by the kind that the session was opened for, never by what the evidence says about itself. It checks
the evidence's own signature and form; whether measurement, bindings and everything else are the wanted ones is the relying
party's to compare, see `appraisal`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from opaque_jobs.attestation.binding import TeePublicKeys, carried, report_data
from opaque_jobs.attestation.claims import HardwareClaims
from opaque_jobs.domain.job import TeeKind

__all__ = ["Attester", "Evidence", "EvidenceVerifier", "unbound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Verified claims of one piece of evidence.

    Args:
        kind: What vouches for it.
        measurement: Simulated: `sha256:<hex>` of the runtime that was started. Hardware: `sha384:<hex>` of what was launched.
        report_data: The field that carries it, see `binding.carried`.
        init_data: Simulated: 48 bytes, see `binding.init_data`. None for hardware, whose report data covers them.
        claims: All that hardware evidence says; None if simulated.
        vouched_by: Simulated: the development key (base64) that signed it. None for hardware, whose makers' roots never change.
    """

    kind: TeeKind
    measurement: str
    report_data: bytes
    init_data: bytes | None
    claims: HardwareClaims | None = None
    vouched_by: str | None = None


def unbound(evidence: Evidence, *, nonce: str, keys: TeePublicKeys, run: bytes) -> tuple[str, ...]:
    """Give what verified evidence is not bound to, as codes; empty if it is bound to nonce, keys and run.

    Args:
        evidence: Verified.
        nonce: The broker's.
        keys: The enclave's.
        run: What `binding.init_data` gives for the run.
    """
    # Simulated evidence carries the run's facts beside the report data that covers them, so what is wrong can be told apart.
    said = run if evidence.init_data is None else evidence.init_data
    expected = carried(evidence.kind, report_data(nonce=nonce, keys=keys, init_data=said))
    problems = {"keys-not-bound": evidence.report_data != expected, "run-not-bound": said != run}
    return tuple(code for code, wrong in problems.items() if wrong)


class Attester(Protocol):
    """Makes evidence, or is a way to the hardware that does."""

    @property
    def kind(self) -> TeeKind:
        """The kind of evidence that it makes."""

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:
        """Give evidence.

        Args:
            measurement: What the simulator measured; real hardware measures itself and ignores it.
            report_data: 48 bytes chosen by the agent.
            init_data: 48 bytes that stand for the run; real hardware ignores them, because the report data covers them.
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
