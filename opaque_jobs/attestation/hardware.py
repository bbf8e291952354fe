"""The verifiers of real hardware, one for each kind, over the envelope in which evidence travels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from opaque_jobs.attestation.chain import AMD_ROOTS, AWS_ROOTS, INTEL_ROOTS, Roots
from opaque_jobs.attestation.claims import HardwareClaims, SgxClaims
from opaque_jobs.attestation.collateral import Pieces, parse_pieces
from opaque_jobs.attestation.dcap import verify_quote
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.attestation.evidence import Evidence
from opaque_jobs.attestation.nitro import verify_nitro
from opaque_jobs.attestation.sev_snp import verify_snp
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import TrustError

__all__ = ["MAKERS", "Anchors", "HardwareVerifier", "hardware_verifiers", "verify_claims"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Roots that are believed, by maker."""

    amd: Roots
    intel: Roots
    aws: Roots


MAKERS: Final = Anchors(amd=AMD_ROOTS, intel=INTEL_ROOTS, aws=AWS_ROOTS)


def verify_claims(
    kind: TeeKind, report: bytes, pieces: Pieces, *, now: datetime, steps: Steps, anchors: Anchors = MAKERS
) -> HardwareClaims:
    """Verify an untrusted report of a kind of hardware with what came with it; nothing is appraised.

    Raises:
        InvalidInputError: Something does not parse.
        TrustError: A step does not hold, or the kind is no hardware.
    """
    match kind:
        case TeeKind.SEV_SNP:
            return verify_snp(report, pieces.certificates, pieces.crls, now=now, steps=steps, roots=anchors.amd)
        case TeeKind.TDX:
            return verify_quote(report, pieces, now=now, steps=steps, roots=anchors.intel)
        case TeeKind.NITRO:
            return verify_nitro(report, now=now, steps=steps, roots=anchors.aws)
        case _:
            raise TrustError("this kind of evidence is not made by hardware", hint="see 'opaque-jobs attest verify --help'")


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareVerifier:
    """Verifies one kind of hardware; see `EvidenceVerifier`.

    Args:
        kind: The kind that it takes; an envelope that says another is refused.
        anchors: Roots that are believed.
    """

    kind: TeeKind
    anchors: Anchors = MAKERS

    def verify(self, evidence: bytes, *, now: datetime) -> Evidence:
        """Verify untrusted evidence; see `EvidenceVerifier`."""
        envelope = EvidenceEnvelope.parse(evidence)
        if envelope.kind is not self.kind:
            raise TrustError("evidence claims to be of another kind", hint="host and broker must match")
        pieces = parse_pieces(envelope.collateral_bytes)
        claims = verify_claims(self.kind, envelope.report_bytes, pieces, now=now, steps=Steps(), anchors=self.anchors)
        if isinstance(claims, SgxClaims):
            raise TrustError("a quote of an SGX enclave was shown as one of a TDX guest", hint="use an accepted kind")
        return Evidence(
            kind=self.kind, measurement=claims.measured, report_data=claims.report_data, init_data=None, claims=claims
        )


def hardware_verifiers(anchors: Anchors = MAKERS) -> Mapping[TeeKind, HardwareVerifier]:
    """Give a verifier for each kind of hardware."""
    return {kind: HardwareVerifier(kind=kind, anchors=anchors) for kind in TeeKind if kind is not TeeKind.SIMULATED}
