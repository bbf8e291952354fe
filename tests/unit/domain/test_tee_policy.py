"""TEE policies: nothing in them is empty, of another form, or able to let debug through."""

import pytest

from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.tee_policy import SnpSigner, SnpTcb, TdxMeasurement, TeePolicies
from opaque_jobs.errors import InvalidInputError
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

TCB = SnpTcb(fmc=0, bootloader=4, tee=0, snp=24, microcode=219)
MILAN = make_platform(up_to_date_tcb=TCB)


def test_policies_survive_their_bytes():
    whole = policies(sev_snp=make_snp_policy(platforms=(MILAN,)), tdx=make_tdx_policy(), nitro=make_nitro_policy())
    assert from_bytes(TeePolicies, to_bytes(whole), what="policies") == whole


@pytest.mark.parametrize(
    ("make", "over"),
    [
        (make_snp_policy, {"measurements": ()}), (make_snp_policy, {"measurements": (MEASURED.upper(),)}),
        (make_snp_policy, {"measurements": ("ab" * 47,)}), (make_snp_policy, {"platforms": ()}),
        (make_snp_policy, {"platforms": (MILAN, MILAN)}), (make_snp_policy, {"signers": ()}),
        (make_snp_policy, {"max_vmpl": 4}), (make_snp_policy, {"max_vmpl": -1}), (make_snp_policy, {"host_data": "ab" * 48}),
        (make_snp_policy, {"chip_ids": ()}), (make_snp_policy, {"csp_ids": ()}), (make_snp_policy, {"chip_ids": ("ab" * 8,)}),
        (make_snp_policy, {"csp_ids": ("",)}), (make_snp_policy, {"csp_ids": ("CN=a\x1b[2K",)}),
        (make_snp_policy, {"csp_ids": ("x" * 201,)}),
        (make_snp_policy, {"signers": (SnpSigner.VLEK,), "chip_ids": ("ab" * 64,)}),
        (make_snp_policy, {"signers": (SnpSigner.VCEK,), "csp_ids": ("CN=cloud",)}),
        (make_tdx_policy, {"td_attributes": ()}), (make_tdx_policy, {"xfam": ()}), (make_tdx_policy, {"xfam": ("ab" * 7,)}),
        (make_tdx_policy, {"td_attributes": ("AB" * 8,)}),
        (make_nitro_policy, {"pcrs": {"0": (MEASURED,), "1": ("00" * 48,)}}),
        (make_nitro_policy, {"pcrs": {"0": (MEASURED,), "2": ("00" * 48,)}}),
        (make_snp_policy, {"max_crl_age_days": 0}), (make_snp_policy, {"max_crl_age_days": 4000}),
        (make_terms, {"statuses": ()}), (make_terms, {"min_tcb_evaluation": -1}), (make_terms, {"max_collateral_age_days": 0}),
        (make_tdx_policy, {"measurements": ()}), (make_tdx_policy, {"mr_config_id": "ab" * 32}),
        (make_sgx_policy, {"mr_enclaves": ()}), (make_sgx_policy, {"mr_enclaves": (MEASURED,)}),
        (make_nitro_policy, {"pcrs": {}}), (make_nitro_policy, {"pcrs": {"8": (MEASURED,)}}),
        (make_nitro_policy, {"pcrs": {"0": (MEASURED,), "32": (MEASURED,)}}),
        (make_nitro_policy, {"pcrs": {"0": (MEASURED,), "01": (MEASURED,)}}),
        (make_nitro_policy, {"pcrs": {"0": (MEASURED,), "8": ()}}), (make_nitro_policy, {"pcrs": {"0": ("00" * 48,)}}),
    ],
)  # fmt: skip
def test_policy_that_demands_nothing_or_has_another_form_is_refused(make, over):
    with pytest.raises(InvalidInputError, match="TEE policy"):
        make(**over)


@pytest.mark.parametrize("which", MINIMA)
def test_platform_that_calls_up_to_date_what_it_refuses_is_refused(which):
    with pytest.raises(InvalidInputError, match="up to date"):
        make_platform(**(dict.fromkeys(MINIMA, ZERO_TCB) | {which: TCB, "up_to_date_tcb": ZERO_TCB}))


@pytest.mark.parametrize("level", [-1, 256])
def test_patch_level_out_of_range_is_refused(level):
    with pytest.raises(InvalidInputError):
        SnpTcb(fmc=0, bootloader=level, tee=0, snp=0, microcode=0)


def test_measurement_register_of_another_length_is_refused():
    with pytest.raises(InvalidInputError):
        TdxMeasurement(mr_td=MEASURED, rt_mr0="ab", rt_mr1=MEASURED, rt_mr2=MEASURED, rt_mr3=None)


def test_newer_part_does_not_outweigh_an_older_one():
    wanted = SnpTcb(fmc=0, bootloader=4, tee=0, snp=23, microcode=220)
    assert not TCB.covers(wanted)
    assert not wanted.covers(TCB)
