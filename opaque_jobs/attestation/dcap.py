"""Verifying Intel quotes, of TDX guests and SGX enclaves, with `dcap-qvl`.

Trust: the library checks all signatures, chains, dates, revocations and the quoting enclave, and gives Intel's word on the
patch level. It always gets collateral: a quote whose signature alone holds says nothing (CVE-2026-22696). The policy handed
to it refuses revoked platforms only, since what else is wanted is for `appraisal` to say, apart from signatures.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from dcap_qvl import QuotePolicy, QuoteVerifier

from opaque_jobs.attestation.certificates import parse_certificate
from opaque_jobs.attestation.chain import INTEL_ROOTS, Roots
from opaque_jobs.attestation.claims import SgxClaims, TdxClaims
from opaque_jobs.attestation.collateral import Pieces, intel_collateral, quote_chain
from opaque_jobs.attestation.quote_layout import split_quote
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.domain.tee_policy import TcbStatus
from opaque_jobs.errors import InvalidInputError

__all__ = ["quote_claims", "verify_quote"]

_SAYS: Final = {"True": True, "False": False}
_TDX_BODIES: Final = ("TD10", "TD15", "TD15Ex")
_SGX_BODY: Final = "SgxEnclave"
_SGX_TYPES: Final = [0, 1, 2]
"""Standard, scalable, scalable with integrity."""
_EVER_S: Final = 100 * 365 * 24 * 3600
"""The library would refuse a platform that Intel calls out of date, whatever statuses are allowed."""
_TD_DEBUG: Final = 0xFF
"""TD_ATTRIBUTES bits 0 to 7: any of them puts the guest under debug."""
_TD_MIGRATABLE: Final = 1 << 29
_SERVICE_GUESTS: Final = ("mr_service_td", "init_service_td_hash", "cur_service_td_hash")
"""What each newer body says of guests that may act on this one, such as migrating it; zero if there are none."""
_SGX_DEBUG: Final = 1 << 1


def verify_quote(raw: bytes, pieces: Pieces, *, now: datetime, steps: Steps, roots: Roots = INTEL_ROOTS) -> TdxClaims | SgxClaims:
    """Verify an untrusted quote with the collateral that came with it.

    Args:
        raw: The quote; zeros may follow it.
        pieces: Intel's collateral; if the quote does not bring the chain of the platform's key, that too.
        now: Aware time.
        steps: Where steps are taken.
        roots: Roots that are believed; the library is given the one that the quote names and that is among them.

    Raises:
        InvalidInputError: Quote or collateral do not parse, or a part is missing.
        TrustError: A step does not hold.
    """
    # 1. The form, and the root that its chain ends in.
    split = split_quote(raw)
    chain = [parse_certificate(der) for der in split.chain] or quote_chain(pieces)
    quote = split.quote if split.chain else split.with_chain([each.der for each in chain])
    steps.demand("the chain has three certificates", len(chain) == 3, "the quote's chain is not PCK, issuer and root")
    pinned = chain[-1].fingerprint in roots
    steps.demand("the chain ends in a pinned root", pinned, "the chain ends in a root that is not pinned")
    collateral, issued = intel_collateral(pieces, chain)
    # 2. Everything that is signed, and Intel's word on it.
    seconds = int(now.timestamp())
    policy = QuotePolicy.strict(seconds).allow_dynamic_platform(True).allow_cached_keys(True).allow_smt(True)
    policy = policy.accepted_sgx_types(_SGX_TYPES).platform_grace_period(_EVER_S).qe_grace_period(_EVER_S)
    for status in TcbStatus:
        policy = policy.allow_status(status.value)
    try:
        verified = json.loads(QuoteVerifier(chain[-1].der).verify_with_policy(quote, collateral, seconds, policy).to_json())
        problem = ""
    except ValueError as error:
        verified, problem = {}, f"the quote or its collateral does not hold: {_reason(error)}"
    steps.demand("quote, chains, collateral and quoting enclave hold", not problem, problem)
    # 3. What the library leaves out: the collateral is for this provisioning enclave too, not for this processor alone.
    same = bytes(verified["platform"]["pck"]["pce_id"]).hex() == str(json.loads(collateral.tcb_info).get("pceId")).lower()
    steps.demand("the collateral is for the platform's provisioning enclave", same, "the collateral is for another platform")
    # 4. Nothing follows that somebody could take for a part of it.
    steps.demand(
        "nothing follows the quote", not any(split.rest), f"{len(split.rest)} bytes follow the quote that are not part of it"
    )
    try:
        return quote_claims(verified, issued)
    except (KeyError, ValueError, TypeError):
        raise InvalidInputError("the quote is of a kind that is not known here", hint="TDX and SGX quotes are known") from None


def _reason(error: ValueError) -> str:
    """Give the library's own words, which speak of public documents, if they are words."""
    text = str(error).removeprefix("Verification failed: ")[:160]
    return text if text.isprintable() and text.isascii() else "unknown"


def quote_claims(verified: Mapping[str, Any], issued: datetime) -> TdxClaims | SgxClaims:
    """Give what a quote says, from the library's account of it.

    Args:
        verified: The library's.
        issued: When the collateral was issued.

    Raises:
        InvalidInputError: The quote is of a kind that is not known here.
    """
    (name, body), pck = next(iter(verified["report"].items())), verified["platform"]["pck"]
    shared: dict[str, Any] = {
        "version": verified["header"]["version"],
        "status": TcbStatus(verified["tcb"]["status"]).value,
        "advisories": tuple(verified["tcb"]["advisory_ids"]),
        "tcb_evaluation": verified["tcb"]["eval_data_number"],
        "collateral_issued": issued,
        "smt": _SAYS.get(pck["smt_enabled"]),
        "dynamic_platform": _SAYS.get(pck["dynamic_platform"]),
        "cached_keys": _SAYS.get(pck["cached_keys"]),
    }
    others = {"fmspc": bytes(pck["fmspc"]).hex(), "tcb_date": verified["platform"]["tcb_level"]["tcbDate"]}
    if name == _SGX_BODY:
        attributes = bytes.fromhex(body["attributes"])
        shown = {key: str(body[key]) for key in ("mr_signer", "isv_prod_id", "isv_svn", "attributes", "cpu_svn")}
        return SgxClaims(
            mr_enclave=bytes.fromhex(body["mr_enclave"]),
            report_data=bytes.fromhex(body["report_data"]),
            debug=bool(attributes[0] & _SGX_DEBUG),
            others=others | shown,
            **shared,
        )
    if name not in _TDX_BODIES:
        raise InvalidInputError("the quote is of a kind that is not known here", hint="TDX and SGX quotes are known")
    while "base" in body:  # each newer body holds the older one
        body = body["base"] | {key: value for key, value in body.items() if key != "base"}
    td_attributes = bytes.fromhex(body["td_attributes"])
    flags = int.from_bytes(td_attributes, "little")
    named = ("mr_seam", "mr_owner", "mr_owner_config", "tee_tcb_svn", "td_id", *_SERVICE_GUESTS)
    return TdxClaims(
        mr_td=bytes.fromhex(body["mr_td"]),
        report_data=bytes.fromhex(body["report_data"]),
        rt_mrs=tuple(bytes.fromhex(body[f"rt_mr{number}"]) for number in range(4)),
        mr_config_id=bytes.fromhex(body["mr_config_id"]),
        td_attributes=td_attributes,
        xfam=bytes.fromhex(body["xfam"]),
        debug=bool(flags & _TD_DEBUG),
        migratable=bool(flags & _TD_MIGRATABLE) or any(body.get(name, "").strip("0") for name in _SERVICE_GUESTS),
        others=others | {key: body[key] for key in named if key in body},
        **shared,
    )
