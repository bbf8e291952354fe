"""Factories of TEE policies: lenient where a test does not look, so that one change shows."""

from typing import Any

from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import (
    NO_HARDWARE,
    NitroPolicy,
    QuoteTerms,
    SgxPolicy,
    SnpLine,
    SnpPlatform,
    SnpPolicy,
    SnpSigner,
    SnpTcb,
    TcbStatus,
    TdxMeasurement,
    TdxPolicy,
    TeePolicies,
)

MEASURED = "ab" * 48
MINIMA = ("minimum_tcb", "minimum_launch_tcb", "minimum_committed_tcb")
ZERO_TCB = SnpTcb(fmc=0, bootloader=0, tee=0, snp=0, microcode=0)


def make_platform(**over: Any) -> SnpPlatform:
    """Give a product line; launch and committed levels have the minimum of the reported ones unless it is given."""
    minimum = over.get("minimum_tcb", ZERO_TCB)
    given = {"line": SnpLine.MILAN, "up_to_date_tcb": minimum}
    return SnpPlatform(**(given | dict.fromkeys(MINIMA, minimum) | over))


def make_snp_policy(**over: Any) -> SnpPolicy:
    given: dict[str, Any] = {
        "measurements": (MEASURED,),
        "platforms": tuple(make_platform(line=line) for line in SnpLine),
        "signers": (SnpSigner.VCEK, SnpSigner.VLEK),
        "chip_ids": None,
        "csp_ids": None,
        "max_vmpl": 3,
        "allow_smt": True,
        "allow_migration_agent": True,
        "allow_masked_chip": True,
        "allow_incomplete_alias_check": True,
        "allow_cxl": True,
        "allow_reserved_bits": True,
        "host_data": None,
        "max_crl_age_days": None,
    }
    return SnpPolicy(**(given | over))


def make_terms(**over: Any) -> QuoteTerms:
    given: dict[str, Any] = {
        "statuses": tuple(TcbStatus),
        "rejected_advisories": (),
        "min_tcb_evaluation": 0,
        "max_collateral_age_days": 3650,
        "allow_smt": True,
        "allow_dynamic_platform": True,
        "allow_cached_keys": True,
    }
    return QuoteTerms(**(given | over))


def make_tdx_policy(**over: Any) -> TdxPolicy:
    measured = TdxMeasurement(mr_td=MEASURED, rt_mr0=None, rt_mr1=MEASURED, rt_mr2=MEASURED, rt_mr3=None)
    given: dict[str, Any] = {
        "measurements": (measured,), "td_attributes": None, "xfam": None, "terms": make_terms(), "allow_migration": True,
        "mr_config_id": None,
    }  # fmt: skip
    return TdxPolicy(**(given | over))


def make_sgx_policy(**over: Any) -> SgxPolicy:
    return SgxPolicy(**({"mr_enclaves": ("ab" * 32,), "terms": make_terms()} | over))


def make_nitro_policy(**over: Any) -> NitroPolicy:
    return NitroPolicy(**({"pcrs": {"0": (MEASURED,)}} | over))


def on_hardware(**given: Any) -> dict[str, Any]:
    """Give what a job says that accepts these kinds of hardware, and no other: `on_hardware(tdx=make_tdx_policy())`."""
    kinds = tuple(TeeKind(name.replace("_", "-")) for name in given)
    return {"tee_kinds": kinds, "tee_policies": policies(**given), "experimental_hardware": True}


def policies(**given: Any) -> TeePolicies:
    return TeePolicies(**({"sev_snp": NO_HARDWARE.sev_snp, "tdx": None, "nitro": None} | given))
