"""Policies: each item refuses alone, all are looked at, and a warning is never affirming."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from opaque_jobs.attestation.appraisal import Outcome, appraise, appraise_for, codes
from opaque_jobs.attestation.claims import NitroClaims, SgxClaims, SnpClaims, TdxClaims, shown
from opaque_jobs.attestation.forms import EvidenceKind
from opaque_jobs.attestation.result import EarStatus
from opaque_jobs.attestation.steps import Step
from opaque_jobs.domain.tee_policy import (
    NO_HARDWARE,
    SnpLine,
    SnpSigner,
    SnpTcb,
    TcbStatus,
    TdxMeasurement,
)
from opaque_jobs.verify.evidence_report import EvidenceReport
from tests.support.tee_policies import (
    MEASURED,
    MINIMA,
    ZERO_TCB,
    make_nitro_policy,
    make_platform,
    make_sgx_policy,
    make_snp_policy,
    make_tdx_policy,
    make_terms,
    policies,
)

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
OTHER = "cd" * 48
TCB = SnpTcb(fmc=1, bootloader=4, tee=0, snp=24, microcode=219)
SNP = SnpClaims(
    version=3, line=SnpLine.MILAN, signer=SnpSigner.VCEK, csp_id="", signing_chip=b"\2" * 64, vmpl=0, guest_svn=0, debug=False,
    smt_allowed=True, migration_agent=False, cxl_allowed=False, alias_checked=True, reserved_bits=False,
    measurement=bytes.fromhex(MEASURED), report_data=b"\0" * 64, host_data=b"\1" * 32,
    chip_id=b"\2" * 64, reported_tcb=TCB, launch_tcb=TCB, committed_tcb=TCB,
    crl_issued=NOW - timedelta(days=10), others={"policy": "0x30000"},
)  # fmt: skip
QUOTE = {
    "version": 4, "debug": False, "report_data": b"\0" * 64, "status": "UpToDate", "advisories": (), "tcb_evaluation": 17,
    "collateral_issued": NOW - timedelta(days=10), "smt": True, "dynamic_platform": True, "cached_keys": True, "others": {},
}  # fmt: skip
REGISTER = bytes.fromhex(MEASURED)
TDX = TdxClaims(
    mr_td=REGISTER,
    rt_mrs=(REGISTER,) * 4,
    mr_config_id=b"\1" * 48,
    td_attributes=b"\3" * 8,
    xfam=b"\4" * 8,
    migratable=False,
    **QUOTE,
)
SGX = SgxClaims(mr_enclave=bytes.fromhex("ab" * 32), **QUOTE)
NITRO = NitroClaims(
    module_id="i-1", issued_at=NOW, pcrs=dict.fromkeys((0, 1, 2, 8), REGISTER), user_data=b"\0" * 48, nonce=b"", public_key=b""
)


KINDS = {
    SnpClaims: EvidenceKind.SEV_SNP,
    TdxClaims: EvidenceKind.TDX,
    SgxClaims: EvidenceKind.SGX,
    NitroClaims: EvidenceKind.NITRO,
}


WHOLE = TdxMeasurement(mr_td=MEASURED, rt_mr0=MEASURED, rt_mr1=MEASURED, rt_mr2=MEASURED, rt_mr3=MEASURED)
NO_GAPS = {"measurements": (WHOLE,), "td_attributes": ("03" * 8,), "xfam": ("04" * 8,)}


def failed(claims, policy):
    return codes(appraise(claims, policy, now=NOW), Outcome.FAILS)


def warned(claims, policy):
    return codes(appraise(claims, policy, now=NOW), Outcome.WARNING)


def status(claims, policy):
    """Give what an attestation result would say."""
    kinds = {
        SnpClaims: EvidenceKind.SEV_SNP,
        TdxClaims: EvidenceKind.TDX,
        SgxClaims: EvidenceKind.SGX,
        NitroClaims: EvidenceKind.NITRO,
    }
    findings = appraise(claims, policy, now=NOW)
    made = {"kind": kinds[type(claims)], "at": NOW, "steps": (), "claims": {}, "policy_given": policy is not None}
    return EvidenceReport(findings=findings, **made).status


def one_line(**over):
    return make_snp_policy(platforms=(make_platform(**({"up_to_date_tcb": TCB} | over)),))


def raised(part):
    return replace(TCB, **{part: getattr(TCB, part) + 1})


def test_claims_that_meet_their_policy_hold_without_a_warning():
    strict = make_snp_policy(
        max_vmpl=0, allow_migration_agent=False, allow_masked_chip=False, signers=(SnpSigner.VCEK,), chip_ids=("02" * 64,),
        csp_ids=(), allow_incomplete_alias_check=False, allow_cxl=False, allow_reserved_bits=False,
        host_data="01" * 32, max_crl_age_days=10, platforms=one_line(minimum_tcb=TCB).platforms,
    )  # fmt: skip
    terms = make_terms(statuses=(TcbStatus.UP_TO_DATE,), max_collateral_age_days=10, min_tcb_evaluation=17)
    measured = TdxMeasurement(mr_td=MEASURED, rt_mr0=MEASURED, rt_mr1=MEASURED, rt_mr2=MEASURED, rt_mr3=MEASURED)
    tdx = make_tdx_policy(
        terms=terms, allow_migration=False, mr_config_id="01" * 48, measurements=(measured,), td_attributes=("03" * 8,),
        xfam=("00" * 8, "04" * 8),
    )  # fmt: skip
    nitro = make_nitro_policy(pcrs=dict.fromkeys("128", (MEASURED,)) | {"0": (OTHER, MEASURED)})
    for claims, policy in ((SNP, strict), (TDX, tdx), (SGX, make_sgx_policy(terms=terms)), (NITRO, nitro)):
        assert {finding.outcome for finding in appraise(claims, policy, now=NOW)} == {Outcome.HOLDS}
        assert (status(claims, policy), status(claims, None)) == (EarStatus.AFFIRMING, EarStatus.NONE)


LOW = dict.fromkeys(MINIMA, ZERO_TCB)
SNP_CASES = {
    "debug": (replace(SNP, debug=True), make_snp_policy(), "debug-enabled"),
    "measurement": (SNP, make_snp_policy(measurements=(OTHER,)), "measurement-not-approved"),
    "line": (SNP, one_line(line=SnpLine.GENOA), "platform-not-approved"),
    **{
        f"minimum {part}": (SNP, one_line(**(LOW | {"minimum_tcb": raised(part), "up_to_date_tcb": raised(part)})), "tcb-too-old")
        for part in ("fmc", "bootloader", "tee", "snp", "microcode")
    },
    **{
        f"{which} {part}": (
            SNP,
            one_line(**{f"minimum_{which}_tcb": raised(part), "up_to_date_tcb": raised(part)}),
            f"{which}-tcb-too-old",
        )
        for part in ("fmc", "bootloader", "tee", "snp", "microcode")
        for which in ("launch", "committed")
    },
    "signer": (SNP, make_snp_policy(signers=(SnpSigner.VLEK,), chip_ids=()), "signer-not-approved"),
    "vmpl": (replace(SNP, vmpl=1), make_snp_policy(max_vmpl=0), "vmpl-too-high"),
    "host asked for the report": (replace(SNP, vmpl=0xFFFFFFFF), make_snp_policy(), "vmpl-too-high"),
    "smt": (SNP, make_snp_policy(allow_smt=False), "smt-allowed"),
    "migration": (replace(SNP, migration_agent=True), make_snp_policy(allow_migration_agent=False), "migration-allowed"),
    "masked chip": (replace(SNP, chip_id=b"\0" * 64), make_snp_policy(allow_masked_chip=False), "chip-masked"),
    "host data": (SNP, make_snp_policy(host_data="02" * 32), "host-data-not-approved"),
    "old revocations": (SNP, make_snp_policy(max_crl_age_days=9), "collateral-too-old"),
    "no revocations": (replace(SNP, crl_issued=None), make_snp_policy(max_crl_age_days=9), "collateral-too-old"),
    "another policy": (SNP, make_nitro_policy(), "tee-kind-not-approved"),
}
QUOTE_CASES = {
    "debug": ({"debug": True}, {}, "debug-enabled"),
    "status": ({"status": "OutOfDate"}, {"statuses": (TcbStatus.UP_TO_DATE,)}, "tcb-too-old"),
    "unknown status": ({"status": "Revoked"}, {}, "tcb-too-old"),
    "advisory": ({"advisories": ("INTEL-SA-1", "INTEL-SA-2")}, {"rejected_advisories": ("INTEL-SA-2",)}, "advisory-rejected"),
    "evaluation": ({}, {"min_tcb_evaluation": 18}, "tcb-evaluation-too-old"),
    "age": ({}, {"max_collateral_age_days": 9}, "collateral-too-old"),
    "smt": ({}, {"allow_smt": False}, "smt-allowed"),
    "untold smt": ({"smt": None}, {"allow_smt": False}, "smt-allowed"),
    "dynamic": ({}, {"allow_dynamic_platform": False}, "dynamic-platform"),
    "cached": ({}, {"allow_cached_keys": False}, "cached-keys"),
}


@pytest.mark.parametrize("case", SNP_CASES)
def test_snp_report_that_misses_one_demand_is_refused_for_it_alone(case):
    claims, policy, code = SNP_CASES[case]
    assert (failed(claims, policy), status(claims, policy)) == ((code,), EarStatus.CONTRAINDICATED)


@pytest.mark.parametrize("case", QUOTE_CASES)
@pytest.mark.parametrize("kind", ["tdx", "sgx"])
def test_quote_that_misses_one_demand_is_refused_for_it_alone(kind, case):
    claims, terms, code = QUOTE_CASES[case]
    policy = make_tdx_policy(terms=make_terms(**terms)) if kind == "tdx" else make_sgx_policy(terms=make_terms(**terms))
    changed = replace(TDX if kind == "tdx" else SGX, **claims)
    assert (failed(changed, policy), status(changed, policy)) == ((code,), EarStatus.CONTRAINDICATED)


@pytest.mark.parametrize("register", range(-1, 4))
def test_tdx_guest_with_one_register_of_another_guest_is_refused(register):
    demanded = {"mr_td": MEASURED} | {f"rt_mr{number}": MEASURED for number in range(4)}
    policy = make_tdx_policy(measurements=(TdxMeasurement(**demanded),))
    assert failed(TDX, policy) == ()
    changed = replace(TDX, mr_td=b"\0" * 48) if register < 0 else replace(
        TDX, rt_mrs=tuple(b"\0" * 48 if number == register else REGISTER for number in range(4))
    )  # fmt: skip
    assert failed(changed, policy) == ("measurement-not-approved",)


def test_tdx_guest_mixed_of_two_accepted_ones_is_refused():
    first = TdxMeasurement(mr_td=MEASURED, rt_mr0=None, rt_mr1=OTHER, rt_mr2=OTHER, rt_mr3=None)
    second = TdxMeasurement(mr_td=OTHER, rt_mr0=None, rt_mr1=MEASURED, rt_mr2=MEASURED, rt_mr3=None)
    assert failed(TDX, make_tdx_policy(measurements=(first, second))) == ("measurement-not-approved",)


@pytest.mark.parametrize(
    ("claims", "over", "code"),
    [
        (replace(TDX, migratable=True), {"allow_migration": False}, "migration-allowed"),
        (TDX, {"mr_config_id": "02" * 48}, "host-data-not-approved"),
    ],
)
def test_tdx_guest_that_may_migrate_or_has_other_launch_data_is_refused(claims, over, code):
    assert failed(claims, make_tdx_policy(**over)) == (code,)


@pytest.mark.parametrize(
    ("claims", "pcrs"),
    [
        (NITRO, {"0": (OTHER,)}),
        (NITRO, {"0": (MEASURED,), "8": (OTHER,)}),
        (NITRO, {"0": (MEASURED,), "3": (MEASURED,)}),
    ],
)
def test_nitro_document_with_another_register_is_refused(claims, pcrs):
    policy = make_nitro_policy(pcrs=pcrs)
    assert (failed(claims, policy), status(claims, policy)) == (("measurement-not-approved",), EarStatus.CONTRAINDICATED)


def test_sgx_enclave_of_another_measurement_is_refused():
    policy = make_sgx_policy(mr_enclaves=("cd" * 32,))
    assert (failed(SGX, policy), status(SGX, policy)) == (("measurement-not-approved",), EarStatus.CONTRAINDICATED)


def test_debug_is_refused_whatever_the_policy_and_without_one():
    for claims in (replace(SNP, debug=True), replace(TDX, debug=True), replace(NITRO, pcrs={0: b"\0" * 48})):
        assert (failed(claims, None), status(claims, None)) == (("debug-enabled",), EarStatus.CONTRAINDICATED)
    assert "debug-enabled" in failed(replace(NITRO, pcrs={0: b"\0" * 48}), make_nitro_policy())


def test_out_of_date_but_allowed_and_unlooked_for_revocations_are_warnings():
    old = one_line(up_to_date_tcb=raised("microcode"))
    open_items = ("chip-not-demanded", "provider-not-demanded", "revocations-not-demanded")
    assert (failed(SNP, old), warned(SNP, old)) == ((), (*open_items, "tcb-out-of-date"))
    assert status(SNP, old) is EarStatus.WARNING
    for word in (each.value for each in TcbStatus):
        expected = EarStatus.AFFIRMING if word == "UpToDate" else EarStatus.WARNING
        every = make_terms(statuses=tuple(TcbStatus), max_collateral_age_days=10)
        assert status(replace(TDX, status=word), make_tdx_policy(terms=every, **NO_GAPS)) is expected
        assert status(replace(SGX, status=word), make_sgx_policy(terms=every)) is expected
    allowed = make_tdx_policy()
    late = replace(TDX, status="OutOfDate")
    open_items = ("rt-mr0-not-demanded", "tcb-out-of-date", "td-attributes-not-demanded", "xfam-not-demanded")
    assert (failed(late, allowed), warned(late, allowed)) == ((), open_items)


def test_simulated_evidence_never_affirms_whatever_is_demanded():
    for given in (True, False):
        made = {"kind": EvidenceKind.SIMULATED, "at": NOW, "steps": (), "claims": {}, "policy_given": given}
        assert EvidenceReport(findings=(), **made).status is EarStatus.CONTRAINDICATED


def test_evidence_whose_signature_does_not_hold_is_contraindicated():
    made = {"kind": EvidenceKind.TDX, "at": NOW, "claims": {}, "policy_given": True, "findings": ()}
    assert EvidenceReport(steps=(Step(name="signed", problem="no"),), **made).status is EarStatus.CONTRAINDICATED


def test_kind_that_the_job_has_no_policy_for_is_refused():
    for claims in (SNP, TDX, NITRO, SGX):
        assert codes(appraise_for(claims, NO_HARDWARE, now=NOW), Outcome.FAILS) == ("tee-kind-not-approved",)
    everything = policies(sev_snp=make_snp_policy(), tdx=make_tdx_policy(), nitro=make_nitro_policy())
    for claims in (SNP, TDX, NITRO):
        assert codes(appraise_for(claims, everything, now=NOW), Outcome.FAILS) == ()
    assert codes(appraise_for(SGX, everything, now=NOW), Outcome.FAILS) == ("tee-kind-not-approved",)


def test_masked_chip_of_a_vlek_is_no_matter_because_that_key_is_bound_to_none():
    claims = replace(SNP, signer=SnpSigner.VLEK, csp_id="CN=cloud", chip_id=b"\0" * 64)
    assert failed(claims, make_snp_policy(allow_masked_chip=False)) == ()


def test_claims_are_shown_as_text_with_every_register():
    assert shown(TDX)["rt_mr3"] == MEASURED
    assert shown(NITRO)["pcr8"] == MEASURED
    texts = shown(SNP)
    assert (texts["debug"], texts["policy"], texts["reported_tcb"][:5]) == ("no", "0x30000", "fmc 1")
    assert all(isinstance(text, str) for claims in (SNP, TDX, SGX, NITRO) for text in shown(claims).values())
