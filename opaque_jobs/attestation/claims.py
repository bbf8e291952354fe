"""What verified hardware evidence says, ready to be compared with a policy: nothing here judges it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from opaque_jobs.domain.tee_policy import SnpLine, SnpSigner, SnpTcb

__all__ = ["HardwareClaims", "NitroClaims", "QuoteClaims", "SgxClaims", "SnpClaims", "TdxClaims", "shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpClaims:
    """An AMD SEV-SNP report whose signature and chain hold.

    Args:
        version: Of the report's format.
        line: Product line, by the root of the chain.
        signer: Kind of signing key.
        csp_id: Cloud provider that holds the VLEK; empty for a VCEK.
        signing_chip: Chip whose VCEK it is, 64 bytes, by the key's certificate: a report can hide it; empty for a VLEK.
        vmpl: Privilege level that asked.
        guest_svn: The guest owner's version number.
        debug: The host may read the guest.
        smt_allowed: Multithreading is allowed by the guest's policy.
        migration_agent: A migration agent is allowed by the guest's policy.
        cxl_allowed: Memory on CXL devices is allowed by the guest's policy.
        alias_checked: The firmware has checked that no two addresses lead to the same memory.
        reserved_bits: A bit is set that the specification reserves.
        measurement: Launch measurement, 48 bytes.
        report_data: 64 bytes.
        host_data: 32 bytes.
        chip_id: 64 bytes, all zero if masked.
        reported_tcb: Patch levels that the signing key stands for.
        launch_tcb: Those at the guest's launch.
        committed_tcb: Those that the host cannot go back behind.
        crl_issued: When the revocation list was issued that was looked at; None if there was none.
        others: Further fields, for people.
    """

    version: int
    line: SnpLine
    signer: SnpSigner
    csp_id: str
    signing_chip: bytes
    vmpl: int
    guest_svn: int
    debug: bool
    smt_allowed: bool
    migration_agent: bool
    cxl_allowed: bool
    alias_checked: bool
    reserved_bits: bool
    measurement: bytes
    report_data: bytes
    host_data: bytes
    chip_id: bytes
    reported_tcb: SnpTcb
    launch_tcb: SnpTcb
    committed_tcb: SnpTcb
    crl_issued: datetime | None
    others: Mapping[str, str]

    @property
    def measured(self) -> str:
        """The launch measurement, as text."""
        return f"sha384:{self.measurement.hex()}"

    @property
    def chip_masked(self) -> bool:
        """The host hides which chip it is."""
        return not any(self.chip_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteClaims:
    """An Intel quote whose signatures, chains and collateral hold.

    Args:
        version: Of the quote's format.
        debug: The host may read the enclave.
        report_data: 64 bytes.
        status: Intel's word on the patch level; never `Revoked`.
        advisories: Intel's security advisories that apply.
        tcb_evaluation: Number of the evaluation that the collateral is from.
        collateral_issued: When the oldest part of the collateral that changes monthly was issued.
        smt: Multithreading; None if the platform does not say.
        dynamic_platform: Processors may be added; None if the platform does not say.
        cached_keys: The registration service holds the platform's keys; None if the platform does not say.
        others: Further fields, for people.
    """

    version: int
    debug: bool
    report_data: bytes
    status: str
    advisories: tuple[str, ...]
    tcb_evaluation: int
    collateral_issued: datetime
    smt: bool | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    others: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxClaims(QuoteClaims):
    """A quote of a TDX guest.

    Args:
        mr_td: Firmware, 48 bytes.
        rt_mrs: The four registers, 48 bytes each.
        mr_config_id: 48 bytes.
        td_attributes: 8 bytes, as the quote has them.
        xfam: 8 bytes, likewise.
        migratable: It may be migrated, or is bound to a service guest.
    """

    mr_td: bytes
    rt_mrs: tuple[bytes, ...]
    mr_config_id: bytes
    td_attributes: bytes
    xfam: bytes
    migratable: bool

    @property
    def measured(self) -> str:
        """The firmware's measurement, as text."""
        return f"sha384:{self.mr_td.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxClaims(QuoteClaims):
    """A quote of an SGX enclave.

    Args:
        mr_enclave: 32 bytes.
    """

    mr_enclave: bytes

    @property
    def measured(self) -> str:
        """The enclave's measurement, as text."""
        return f"sha256:{self.mr_enclave.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroClaims:
    """An AWS Nitro document whose signature and chain hold.

    Args:
        module_id: The enclave.
        issued_at: By the hypervisor's clock.
        pcrs: Registers, by number.
        user_data: The enclave's own bytes.
        nonce: Likewise.
        public_key: Likewise.
    """

    module_id: str
    issued_at: datetime
    pcrs: Mapping[int, bytes]
    user_data: bytes
    nonce: bytes
    public_key: bytes

    @property
    def debug(self) -> bool:
        """A debug enclave has no measurement: the host may read its console."""
        return not all(any(self.pcrs[number]) for number in (0, 1, 2) if number in self.pcrs)

    @property
    def measured(self) -> str:
        """The image's measurement, as text."""
        return f"sha384:{self.pcrs[0].hex()}"

    @property
    def report_data(self) -> bytes:
        """The field that binds keys and run."""
        return self.user_data


HardwareClaims = SnpClaims | TdxClaims | SgxClaims | NitroClaims


def shown(claims: HardwareClaims) -> dict[str, str]:
    """Give every claim by name, as text for people and for attestation results."""
    flat: dict[str, Any] = {}
    for field in fields(claims):
        value = getattr(claims, field.name)
        match field.name, value:
            case "others", Mapping():
                flat |= value
            case "pcrs", Mapping():
                flat |= {f"pcr{number}": register for number, register in value.items()}
            case "rt_mrs", tuple():
                flat |= {f"rt_mr{number}": register for number, register in enumerate(value)}
            case name, _:
                flat[name] = value
    texts = {name: _text(value) for name, value in flat.items()}
    return {name: text for name, text in texts.items() if text}


def _text(value: Any) -> str:
    match value:
        case bytes():
            return value.hex()
        case None | bool():
            return {True: "yes", False: "no", None: "not told"}[value]
        case SnpTcb():
            return ", ".join(f"{field.name} {getattr(value, field.name)}" for field in fields(value))
        case datetime():
            return value.isoformat()
        case tuple():
            return ", ".join(value)
        case _:
            return str(value)
