"""What a TEE policy leaves open: each gap is a warning, for who reads the policy and in every result that it lets through.

Pure, and without evidence: reviewers see before they sign what `appraisal` will say afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from opaque_jobs.domain.tee_policy import (
    NITRO_IMAGE,
    NitroPolicy,
    SgxPolicy,
    SnpPolicy,
    SnpSigner,
    TdxPolicy,
    TeePolicies,
)

__all__ = ["NOT_MEASURED", "Gap", "HardwarePolicy", "gaps", "gaps_by_kind"]

HardwarePolicy = SnpPolicy | TdxPolicy | SgxPolicy | NitroPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that a policy does not demand.

    Args:
        code: Fixed word, of the warning.
        open: What is not compared, in words.
    """

    code: str
    open: str


NOT_MEASURED: Final = Gap(code="runtime-not-measured", open="the enclave's own runtime is measured")
"""What no policy can demand while the enclave is a part of an attested guest."""


def gaps(policy: HardwarePolicy) -> tuple[Gap, ...]:
    """List what a policy does not demand, though it should."""
    match policy:
        case SnpPolicy():
            return tuple(_snp(policy))
        case TdxPolicy():
            return tuple(_tdx(policy))
        case NitroPolicy():
            return tuple(_nitro(policy))
        case SgxPolicy():
            return ()


def gaps_by_kind(policies: TeePolicies) -> dict[str, tuple[Gap, ...]]:
    """List the gaps of a job's policies, kind of hardware -> gaps; a kind without any is left out."""
    given = {"sev-snp": policies.sev_snp, "tdx": policies.tdx, "nitro": policies.nitro}
    found = {kind: gaps(policy) for kind, policy in given.items() if policy is not None}
    return {kind: each for kind, each in found.items() if each}


def _snp(policy: SnpPolicy) -> Iterator[Gap]:
    if SnpSigner.VCEK in policy.signers and policy.chip_ids is None:
        yield Gap(code="chip-not-demanded", open="whose chip it is: any genuine one will do, somebody's own too")
    if SnpSigner.VLEK in policy.signers and policy.csp_ids is None:
        yield Gap(code="provider-not-demanded", open="whose cloud it is: any provider's key will do")
    if policy.max_crl_age_days is None:
        yield Gap(code="revocations-not-demanded", open="AMD's revocation list")


def _tdx(policy: TdxPolicy) -> Iterator[Gap]:
    if any(each.rt_mr0 is None for each in policy.measurements):
        yield Gap(code="rt-mr0-not-demanded", open="the set-up of the virtual machine (RTMR0)")
    if policy.td_attributes is None:
        yield Gap(code="td-attributes-not-demanded", open="the guest's attributes other than debug and migration")
    if policy.xfam is None:
        yield Gap(code="xfam-not-demanded", open="the processor's features that the guest has (XFAM)")


def _nitro(policy: NitroPolicy) -> Iterator[Gap]:
    what = {"1": "kernel and boot of the image (PCR 1)", "2": "the application of the image (PCR 2)"}
    for number in NITRO_IMAGE:
        if number not in policy.pcrs:
            yield Gap(code=f"pcr{number}-not-demanded", open=what[number])
