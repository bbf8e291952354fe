"""Comparing what verified hardware evidence says with what members demand of it: policy, apart from signatures.

Every demand is looked at and gives a finding, also after one has failed, so that people see all that is wrong. Debug is refused
without any policy. A finding that only warns lets keys out, but the result is then not `affirming`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from opaque_jobs.attestation.claims import HardwareClaims, NitroClaims, QuoteClaims, SgxClaims, SnpClaims, TdxClaims
from opaque_jobs.attestation.policy_gaps import NOT_MEASURED, HardwarePolicy, gaps
from opaque_jobs.domain.tee_policy import (
    NitroPolicy,
    QuoteTerms,
    SgxPolicy,
    SnpPlatform,
    SnpPolicy,
    SnpSigner,
    SnpTcb,
    TcbStatus,
    TdxMeasurement,
    TdxPolicy,
    TeePolicies,
)

__all__ = ["Finding", "Outcome", "appraise", "appraise_enclave", "appraise_for", "codes"]


class Outcome(StrEnum):
    """How a demand came out."""

    HOLDS = "holds"
    WARNING = "warning"
    FAILS = "fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One demand and how it came out.

    Args:
        code: Fixed word, given as a reason when it fails.
        demand: What is demanded, in words.
        seen: What the evidence says.
        outcome: How it came out.
    """

    code: str
    demand: str
    seen: str
    outcome: Outcome


def appraise_for(claims: HardwareClaims, policies: TeePolicies, *, now: datetime) -> tuple[Finding, ...]:
    """Appraise verified claims by a job's policies; a kind without one is refused."""
    policy: HardwarePolicy | None = None
    match claims:
        case SnpClaims():
            policy = policies.sev_snp
        case TdxClaims():
            policy = policies.tdx
        case NitroClaims():
            policy = policies.nitro
    if policy is None:
        return (_finding("tee-kind-not-approved", "the job has a policy for this kind of evidence", "none", False),)
    return appraise(claims, policy, now=now)


def appraise_enclave(claims: HardwareClaims, policies: TeePolicies, *, now: datetime) -> tuple[Finding, ...]:
    """Appraise the guest that a job's enclave runs in; with a warning, since nobody measures the enclave's runtime there."""
    seen = "the guest that it runs in"
    runtime = Finding(code=NOT_MEASURED.code, demand=NOT_MEASURED.open, seen=seen, outcome=Outcome.WARNING)
    return (*appraise_for(claims, policies, now=now), runtime)


def appraise(claims: HardwareClaims, policy: HardwarePolicy | None, *, now: datetime) -> tuple[Finding, ...]:
    """Appraise verified claims.

    Args:
        claims: What was verified.
        policy: What is demanded; with None only what no policy can allow is looked at.
        now: Aware time, for ages.
    """
    debug = _finding("debug-enabled", "debug mode is off", "on" if claims.debug else "off", not claims.debug)
    if policy is None:
        return (debug,)
    match claims, policy:
        case SnpClaims(), SnpPolicy():
            rest = _snp(claims, policy, now)
        case TdxClaims(), TdxPolicy():
            rest = _tdx(claims, policy, now)
        case SgxClaims(), SgxPolicy():
            rest = _sgx(claims, policy, now)
        case NitroClaims(), NitroPolicy():
            rest = _nitro(claims, policy)
        case _:
            rest = iter([_finding("tee-kind-not-approved", "the policy is for this kind of evidence", "another kind", False)])
    left_open = (
        Finding(code=gap.code, demand=f"the policy demands {gap.open}", seen="not demanded", outcome=Outcome.WARNING)
        for gap in gaps(policy)
    )
    return (debug, *rest, *left_open)


def codes(findings: Iterable[Finding], outcome: Outcome) -> tuple[str, ...]:
    """Give the codes of the findings that came out so, each once and sorted."""
    return tuple(sorted({finding.code for finding in findings if finding.outcome is outcome}))


def _finding(code: str, demand: str, seen: object, holds: bool, *, otherwise: Outcome = Outcome.FAILS) -> Finding:
    return Finding(code=code, demand=demand, seen=str(seen), outcome=Outcome.HOLDS if holds else otherwise)


def _age(code: str, what: str, issued: datetime | None, most: int, now: datetime) -> Finding:
    young = issued is not None and now - issued <= timedelta(days=most)
    return _finding(code, f"{what} is at most {most} days old", issued.isoformat() if issued else "none", young)


def _allowed(code: str, what: str, seen: bool | None, allowed: bool) -> Finding:
    """Judge a switch; one that the platform does not tell counts as on."""
    words = {True: "on", False: "off", None: "not told"}
    demand = f"{what} is allowed" if allowed else f"{what} is off"
    return _finding(code, demand, words[seen], allowed or seen is False)


def _tolerated(code: str, demand: str, seen: str, holds: bool, allowed: bool) -> Finding:
    """Judge what should not be: where the policy allows it, it is a warning still."""
    return _finding(code, demand, seen, holds, otherwise=Outcome.WARNING if allowed else Outcome.FAILS)


def _snp(claims: SnpClaims, policy: SnpPolicy, now: datetime) -> Iterator[Finding]:
    yield _finding(
        "measurement-not-approved", "the launch measurement is accepted", claims.measurement.hex(),
        claims.measurement.hex() in policy.measurements,
    )  # fmt: skip
    platform = next((each for each in policy.platforms if each.line is claims.line), None)
    yield _finding("platform-not-approved", "the product line is accepted", claims.line, platform is not None)
    if platform is not None:
        yield from _patch_levels(claims, platform)
    yield _finding("signer-not-approved", "the kind of signing key is accepted", claims.signer, claims.signer in policy.signers)
    yield from _pinned_signer(claims, policy)
    yield _finding(
        "vmpl-too-high", f"the privilege level is at most {policy.max_vmpl}", claims.vmpl, claims.vmpl <= policy.max_vmpl
    )
    yield _allowed("smt-allowed", "multithreading", claims.smt_allowed, policy.allow_smt)
    yield _allowed("migration-allowed", "a migration agent", claims.migration_agent, policy.allow_migration_agent)
    masked = claims.chip_masked and not claims.csp_id
    yield _allowed("chip-masked", "a masked chip id", masked, policy.allow_masked_chip)
    checked = "complete" if claims.alias_checked else "not complete"
    yield _tolerated(
        "alias-check-incomplete", "the check for memory aliases is complete", checked, claims.alias_checked,
        policy.allow_incomplete_alias_check,
    )  # fmt: skip
    cxl = "on" if claims.cxl_allowed else "off"
    yield _tolerated("cxl-allowed", "memory on CXL devices is off", cxl, not claims.cxl_allowed, policy.allow_cxl)
    bits = "set" if claims.reserved_bits else "as they have to be"
    yield _tolerated(
        "reserved-bits-set", "reserved bits are as they have to be", bits, not claims.reserved_bits, policy.allow_reserved_bits
    )
    if policy.host_data is not None:
        same = claims.host_data.hex() == policy.host_data
        yield _finding("host-data-not-approved", "host data is the approved value", claims.host_data.hex(), same)
    if policy.max_crl_age_days is not None:
        yield _age("collateral-too-old", "AMD's revocation list", claims.crl_issued, policy.max_crl_age_days, now)


def _patch_levels(claims: SnpClaims, platform: SnpPlatform) -> Iterator[Finding]:
    """Judge all patch levels that count: the key stands for the reported ones, but older firmware may have made the guest."""
    for code, what, levels, least in (
        ("tcb-too-old", "patch levels", claims.reported_tcb, platform.minimum_tcb),
        ("launch-tcb-too-old", "patch levels at launch", claims.launch_tcb, platform.minimum_launch_tcb),
        ("committed-tcb-too-old", "committed patch levels", claims.committed_tcb, platform.minimum_committed_tcb),
    ):
        yield _finding(code, f"{what} are at least {least.parts}", _levels(levels), levels.covers(least))
        current = levels.covers(platform.up_to_date_tcb)
        demand = f"{what} are up to date, {platform.up_to_date_tcb.parts}"
        yield _finding("tcb-out-of-date", demand, _levels(levels), current, otherwise=Outcome.WARNING)


def _levels(tcb: SnpTcb) -> str:
    return ", ".join(f"{name} {part}" for name, part in zip(_SNP_PARTS, tcb.parts, strict=True))


_SNP_PARTS = ("fmc", "bootloader", "tee", "snp", "microcode")


def _pinned_signer(claims: SnpClaims, policy: SnpPolicy) -> Iterator[Finding]:
    """Compare whose key signed: the chip by its certificate, since a report can hide it, or the cloud provider."""
    if claims.signer not in policy.signers:
        return
    if claims.signer is SnpSigner.VCEK and policy.chip_ids is not None:
        chip = claims.signing_chip.hex()
        yield _finding("chip-not-approved", "the signing chip is accepted", chip, chip in policy.chip_ids)
    if claims.signer is SnpSigner.VLEK and policy.csp_ids is not None:
        yield _finding("provider-not-approved", "the cloud provider is accepted", claims.csp_id, claims.csp_id in policy.csp_ids)


def _quote(claims: QuoteClaims, terms: QuoteTerms, now: datetime) -> Iterator[Finding]:
    yield _finding("tcb-too-old", "Intel's word on the patch level is accepted", claims.status, claims.status in terms.statuses)
    current = claims.status == TcbStatus.UP_TO_DATE
    yield _finding("tcb-out-of-date", "the patch level is up to date", claims.status, current, otherwise=Outcome.WARNING)
    bad = sorted(set(claims.advisories) & set(terms.rejected_advisories))
    yield _finding("advisory-rejected", "no rejected advisory applies", ", ".join(claims.advisories) or "none", not bad)
    enough = claims.tcb_evaluation >= terms.min_tcb_evaluation
    demand = f"Intel's evaluation is number {terms.min_tcb_evaluation} or later"
    yield _finding("tcb-evaluation-too-old", demand, claims.tcb_evaluation, enough)
    yield _age("collateral-too-old", "Intel's collateral", claims.collateral_issued, terms.max_collateral_age_days, now)
    yield _allowed("smt-allowed", "multithreading", claims.smt, terms.allow_smt)
    yield _allowed("dynamic-platform", "a dynamic platform", claims.dynamic_platform, terms.allow_dynamic_platform)
    yield _allowed("cached-keys", "caching of platform keys", claims.cached_keys, terms.allow_cached_keys)


def _tdx(claims: TdxClaims, policy: TdxPolicy, now: datetime) -> Iterator[Finding]:
    accepted = any(_booted(claims, each) for each in policy.measurements)
    yield _finding("measurement-not-approved", "firmware and registers are accepted together", claims.mr_td.hex(), accepted)
    yield from _quote(claims, policy.terms, now)
    for code, what, seen, wanted in (
        ("td-attributes-not-approved", "the guest's attributes", claims.td_attributes.hex(), policy.td_attributes),
        ("xfam-not-approved", "XFAM", claims.xfam.hex(), policy.xfam),
    ):
        if wanted is not None:
            yield _finding(code, f"{what}: one of the approved values", seen, seen in wanted)
    yield _allowed("migration-allowed", "migration", claims.migratable, policy.allow_migration)
    if policy.mr_config_id is not None:
        same = claims.mr_config_id.hex() == policy.mr_config_id
        yield _finding("host-data-not-approved", "MRCONFIGID is the approved value", claims.mr_config_id.hex(), same)


def _booted(claims: TdxClaims, accepted: TdxMeasurement) -> bool:
    registers = (accepted.rt_mr0, accepted.rt_mr1, accepted.rt_mr2, accepted.rt_mr3)
    same = all(wanted in {None, seen.hex()} for wanted, seen in zip(registers, claims.rt_mrs, strict=True))
    return claims.mr_td.hex() == accepted.mr_td and same


def _sgx(claims: SgxClaims, policy: SgxPolicy, now: datetime) -> Iterator[Finding]:
    accepted = claims.mr_enclave.hex() in policy.mr_enclaves
    yield _finding("measurement-not-approved", "the enclave is accepted", claims.mr_enclave.hex(), accepted)
    yield from _quote(claims, policy.terms, now)


def _nitro(claims: NitroClaims, policy: NitroPolicy) -> Iterator[Finding]:
    for number, values in sorted(policy.pcrs.items(), key=lambda item: int(item[0])):
        seen = claims.pcrs.get(int(number), b"").hex()
        yield _finding("measurement-not-approved", f"register {number} is accepted", seen or "none", seen in values)
