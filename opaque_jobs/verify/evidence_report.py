"""Verifying evidence from files, step by step, for people who want to see each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from opaque_jobs.attestation.appraisal import Finding, Outcome, appraise, appraise_for, codes
from opaque_jobs.attestation.claims import HardwareClaims, SgxClaims, shown
from opaque_jobs.attestation.collateral import parse_pieces
from opaque_jobs.attestation.dcap import verify_quote
from opaque_jobs.attestation.forms import EvidenceKind, ReadEvidence
from opaque_jobs.attestation.hardware import MAKERS, Anchors, verify_claims
from opaque_jobs.attestation.policy_gaps import HardwarePolicy
from opaque_jobs.attestation.result import EarStatus, ear_status
from opaque_jobs.attestation.simulated import SimulatedVerifier
from opaque_jobs.attestation.steps import Step, Steps
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import SgxPolicy, TeePolicies
from opaque_jobs.errors import TrustError

__all__ = ["EvidenceReport", "inspect_evidence"]

_SIMULATED_STEP: Final = "it is signed by a development key that is believed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """What verification found.

    Args:
        kind: Of evidence.
        at: The time that it was verified for.
        steps: Signatures and chains; it ends with the first that does not hold.
        policy_given: Whether somebody said what is demanded.
        findings: What the policy demands; empty before signatures hold, and for simulated evidence.
        claims: What the evidence says; empty before signatures hold.
    """

    kind: EvidenceKind
    at: datetime
    steps: tuple[Step, ...]
    policy_given: bool
    findings: tuple[Finding, ...]
    claims: dict[str, str]

    @property
    def signature_holds(self) -> bool:
        """Tell whether every step held."""
        return all(not step.problem for step in self.steps)

    @property
    def policy_holds(self) -> bool:
        """Tell whether nothing failed that was demanded; warnings do not fail."""
        return self.signature_holds and not codes(self.findings, Outcome.FAILS)

    @property
    def holds(self) -> bool:
        """Tell whether everything held."""
        return self.signature_holds and self.policy_holds

    @property
    def status(self) -> EarStatus:
        """What an attestation result would say: `none` if nobody said what is demanded."""
        if not self.holds or self.kind is EvidenceKind.SIMULATED:
            return EarStatus.CONTRAINDICATED
        kind = TeeKind.TDX if self.kind is EvidenceKind.SGX else TeeKind(self.kind.value)
        return ear_status(kind, codes(self.findings, Outcome.WARNING)) if self.policy_given else EarStatus.NONE


def inspect_evidence(
    evidence: ReadEvidence,
    *,
    more: Sequence[bytes],
    policies: TeePolicies | None,
    sgx: SgxPolicy | None,
    simulated_keys: Collection[VerifyKey],
    now: datetime,
    anchors: Anchors = MAKERS,
) -> EvidenceReport:
    """Verify untrusted evidence step by step, then appraise it.

    Args:
        evidence: As read from a file.
        more: Certificate and collateral files beside it.
        policies: What is demanded; None looks only at what no policy can allow.
        sgx: What is demanded of SGX quotes.
        simulated_keys: Development keys whose simulated evidence is believed.
        now: Aware time.
        anchors: Roots of hardware makers that are believed.

    Raises:
        InvalidInputError: The evidence or what is beside it does not parse.
    """
    steps = Steps()
    claims: HardwareClaims | None = None
    texts: dict[str, str] = {}
    try:
        if evidence.kind is EvidenceKind.SIMULATED:
            texts = _simulated(evidence.report, simulated_keys, now=now, steps=steps)
        else:
            claims = _hardware(evidence, more, now=now, steps=steps, anchors=anchors)
            texts = {"measured": claims.measured} | shown(claims)
    except TrustError as error:
        # What is missing beside the evidence is noticed between two steps.
        if not steps.taken or not steps.taken[-1].problem:
            steps.taken.append(Step(name="everything that is needed is there", problem=error.message))
    return EvidenceReport(
        kind=evidence.kind,
        at=now,
        steps=tuple(steps.taken),
        policy_given=policies is not None,
        findings=_appraised(claims, policies, sgx, now) if claims else (),
        claims=texts,
    )


def _simulated(report: bytes, keys: Collection[VerifyKey], *, now: datetime, steps: Steps) -> dict[str, str]:
    try:
        found, problem = SimulatedVerifier(keys).verify(report, now=now), ""
    except TrustError as error:
        found, problem = None, error.message
    steps.demand(_SIMULATED_STEP, found is not None, problem)
    assert found is not None  # noqa: S101 - demanded in the line above
    return {"measurement": found.measurement, "report_data": found.report_data.hex(), "init_data": (found.init_data or b"").hex()}


def _hardware(evidence: ReadEvidence, more: Sequence[bytes], *, now: datetime, steps: Steps, anchors: Anchors) -> HardwareClaims:
    pieces = parse_pieces([*evidence.collateral, *more])
    if evidence.kind is EvidenceKind.SGX:
        return verify_quote(evidence.report, pieces, now=now, steps=steps, roots=anchors.intel)
    return verify_claims(TeeKind(evidence.kind.value), evidence.report, pieces, now=now, steps=steps, anchors=anchors)


def _appraised(claims: HardwareClaims, policies: TeePolicies | None, sgx: SgxPolicy | None, now: datetime) -> tuple[Finding, ...]:
    if policies is None:
        return appraise(claims, None, now=now)
    if isinstance(claims, SgxClaims) and sgx is not None:
        policy: HardwarePolicy = sgx
        return appraise(claims, policy, now=now)
    return appraise_for(claims, policies, now=now)
