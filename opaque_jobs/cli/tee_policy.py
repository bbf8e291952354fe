"""TEE policies as people write them: a JSON file with one policy for each kind of hardware.

What is left out gets the strictest value that ordinary cloud hosts meet; `review show` and the signed job show every item.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opaque_jobs.attestation.policy_gaps import Gap
from opaque_jobs.cli.output import stdout
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.domain.tee_policy import SgxPolicy, TeePolicies
from opaque_jobs.errors import InvalidInputError, NotFoundError

__all__ = ["POLICY_HELP", "PolicyFile", "policy_items", "print_gaps", "read_policies"]

POLICY_HELP: Final = (
    'JSON file: {"sev-snp": {...}, "tdx": {...}, "nitro": {...}}, one policy for each kind of hardware. '
    "The README has an example of each."
)
_WHAT: Final = "TEE policy file"
_MAX_BYTES: Final = 1 << 20
_TCB: Final = {"fmc": 0}
_LEVELS: Final = ("minimum_launch_tcb", "minimum_committed_tcb", "up_to_date_tcb")
"""What is left out of a platform is its `minimum_tcb`."""
_SNP: Final = {
    "signers": ["vcek"], "chip_ids": [], "csp_ids": [], "max_vmpl": 0, "allow_smt": True, "allow_migration_agent": False,
    "allow_masked_chip": False, "allow_incomplete_alias_check": False, "allow_cxl": False, "allow_reserved_bits": False,
    "host_data": None, "max_crl_age_days": 30,
}  # fmt: skip
_TERMS: Final = {
    "statuses": ["UpToDate"], "rejected_advisories": [], "min_tcb_evaluation": 0, "max_collateral_age_days": 30,
    "allow_smt": True, "allow_dynamic_platform": True, "allow_cached_keys": True,
}  # fmt: skip
_TDX: Final = {"terms": {}, "allow_migration": False, "mr_config_id": None, "td_attributes": None, "xfam": None}
_TDX_MEASUREMENT: Final = {"rt_mr0": None, "rt_mr3": None}
_KINDS: Final = frozenset({"sev_snp", "tdx", "nitro", "sgx"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """What a file holds.

    Args:
        policies: Those that a job can have.
        sgx: For verifying SGX quotes from files; None if there is none.
    """

    policies: TeePolicies
    sgx: SgxPolicy | None


def read_policies(file: Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        NotFoundError: It cannot be read.
        InvalidInputError: It is no JSON object of policies, or a policy is not valid.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except OSError:
        raise NotFoundError("the TEE policy file cannot be read", hint="check the path") from None
    document = parse_json(data, what=_WHAT) if len(data) <= _MAX_BYTES else None
    given = {str(kind).replace("-", "_"): policy for kind, policy in _object(document).items()}
    if not given or not set(given) <= _KINDS:
        raise InvalidInputError("the TEE policy file names another kind of hardware", hint="known: sev-snp, tdx, nitro, sgx")
    quotes = {kind: _with_terms(given[kind]) for kind in ("tdx", "sgx") if kind in given}
    filled = {
        "sev_snp": _snp(given["sev_snp"]) if "sev_snp" in given else None,
        "tdx": _tdx(quotes["tdx"]) if "tdx" in quotes else None,
        "nitro": given.get("nitro"),
    }
    return PolicyFile(
        policies=from_json(TeePolicies, filled, what=_WHAT),
        sgx=from_json(SgxPolicy, quotes["sgx"], what=_WHAT) if "sgx" in quotes else None,
    )


def policy_items(policies: TeePolicies) -> dict[str, dict[str, Any]]:
    """Give every item of each policy there is, for people: kind -> name -> value."""
    document: dict[str, Any] = to_json(policies)
    return {kind.replace("_", "-"): dict(_flat("", policy)) for kind, policy in document.items() if policy is not None}


def print_gaps(found: Sequence[Gap]) -> None:
    """Print what a policy leaves open, as warnings for people."""
    for gap in found:
        stdout().print(f"[bold yellow]warning:[/] nobody demands {gap.open} [dim]({gap.code})[/]")


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name} {key}".strip(), item)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for number, item in enumerate(value, 1):
            yield from _flat(f"{name} {number}", item)
    else:
        yield name, "not demanded" if value is None else value


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"the {_WHAT} does not have the expected form", hint="the README has an example of each kind")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInputError(f"the {_WHAT} does not have the expected form", hint="the README has an example of each kind")
    return value


def _snp(policy: Any) -> dict[str, Any]:
    filled = {**_SNP, **_object(policy)}
    return {**filled, "platforms": [_platform(each) for each in _list(filled.get("platforms"))]}


def _platform(platform: Any) -> dict[str, Any]:
    given = _object(platform)
    minimum = {**_TCB, **_object(given.get("minimum_tcb"))}
    levels = {name: {**_TCB, **_object(given.get(name, minimum))} for name in _LEVELS}
    return {**given, **levels, "minimum_tcb": minimum}


def _with_terms(policy: Any) -> dict[str, Any]:
    filled = {"terms": {}, **_object(policy)}
    return {**filled, "terms": {**_TERMS, **_object(filled["terms"])}}


def _tdx(policy: dict[str, Any]) -> dict[str, Any]:
    filled = {**_TDX, **policy}
    return {**filled, "measurements": [{**_TDX_MEASUREMENT, **_object(each)} for each in _list(filled.get("measurements"))]}
