"""What members demand of real hardware before it may get keys: part of the job that they sign.

One policy for each kind of hardware. They are reference values (RFC 9334): evidence is verified first, then compared with
these. A kind without a policy cannot be listed in a job, and nothing here has a default: who writes a job decides each item.
Debug modes are not an item, because no policy can allow them.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opaque_jobs.errors import InvalidInputError

__all__ = [
    "NO_HARDWARE",
    "NitroPolicy",
    "QuoteTerms",
    "SgxPolicy",
    "SnpLine",
    "SnpPlatform",
    "SnpPolicy",
    "SnpSigner",
    "SnpTcb",
    "TcbStatus",
    "TdxMeasurement",
    "TdxPolicy",
    "TeePolicies",
]

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_MAX_DAYS: Final = 3650


def _demand(holds: bool, problem: str, hint: str) -> None:
    if not holds:
        raise InvalidInputError(f"a TEE policy {problem}", hint=hint)


def _check_hex(text: str, size: int, what: str) -> None:
    _demand(
        len(text) == 2 * size and bool(_HEX.fullmatch(text)),
        f"has a {what} of another form",
        f"write the {size} bytes as {2 * size} lower-case hexadecimal digits",
    )


def _check_days(days: int | None) -> None:
    _demand(days is None or 0 < days <= _MAX_DAYS, "has an age that is out of range", f"1 to {_MAX_DAYS} days")


class SnpLine(StrEnum):
    """AMD's product lines that have SEV-SNP; each has a root of its own and patch levels of its own."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class SnpSigner(StrEnum):
    """Key that signs reports: the chip's own, or one that AMD lends to a cloud provider for all its chips."""

    VCEK = "vcek"
    VLEK = "vlek"


class TcbStatus(StrEnum):
    """Intel's word on a platform's patch level, without `Revoked`, which nothing allows."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpTcb:
    """Patch levels of an AMD platform. Every part counts for itself: a newer one does not outweigh an older one.

    Args:
        fmc: Turin and later; 0 on older lines.
        bootloader: Of the secure processor.
        tee: Of its operating system.
        snp: Of the SNP firmware.
        microcode: Lowest patch level of the cores.
    """

    fmc: int
    bootloader: int
    tee: int
    snp: int
    microcode: int

    @property
    def parts(self) -> tuple[int, ...]:
        """All levels, in one order."""
        return (self.fmc, self.bootloader, self.tee, self.snp, self.microcode)

    def __post_init__(self) -> None:
        _demand(all(0 <= part < 256 for part in self.parts), "has a patch level that is out of range", "0 to 255")

    def covers(self, wanted: "SnpTcb") -> bool:
        """Tell whether each part is at least the wanted one."""
        return all(mine >= least for mine, least in zip(self.parts, wanted.parts, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPlatform:
    """An accepted product line.

    Args:
        line: The line.
        minimum_tcb: Below it evidence is refused.
        up_to_date_tcb: Below it evidence is taken with a warning.
    """

    line: SnpLine
    minimum_tcb: SnpTcb
    up_to_date_tcb: SnpTcb

    def __post_init__(self) -> None:
        _demand(
            self.up_to_date_tcb.covers(self.minimum_tcb),
            "calls a patch level up to date that it refuses",
            "raise 'up_to_date_tcb' or lower 'minimum_tcb'",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPolicy:
    """What is demanded of AMD SEV-SNP.

    Args:
        measurements: Accepted launch measurements, 48 bytes as hexadecimal.
        platforms: Accepted product lines.
        signers: Accepted kinds of signing key.
        max_vmpl: Highest privilege level number that may have asked for the report; 0 is the most privileged.
        allow_smt: Whether the guest may run with simultaneous multithreading on.
        allow_migration_agent: Whether the guest may have one.
        allow_masked_chip: Whether a VCEK report may hide its chip.
        host_data: HOST_DATA, 32 bytes as hexadecimal; None compares nothing.
        max_crl_age_days: Age of the revocation list that has to come with the report; None needs none, and is a warning.
    """

    measurements: tuple[str, ...]
    platforms: tuple[SnpPlatform, ...]
    signers: tuple[SnpSigner, ...]
    max_vmpl: int
    allow_smt: bool
    allow_migration_agent: bool
    allow_masked_chip: bool
    host_data: str | None
    max_crl_age_days: int | None

    def __post_init__(self) -> None:
        for text in self.measurements:
            _check_hex(text, 48, "launch measurement")
        if self.host_data is not None:
            _check_hex(self.host_data, 32, "host data")
        lines = [platform.line for platform in self.platforms]
        _demand(bool(self.measurements and self.signers), "accepts no measurement or no signing key", "list at least one")
        _demand(bool(lines) and len(set(lines)) == len(lines), "names no product line, or one twice", "list each once")
        _demand(0 <= self.max_vmpl <= 3, "has a privilege level that is out of range", "0 to 3")
        _check_days(self.max_crl_age_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteTerms:
    """What is demanded of an Intel platform, whichever kind of enclave runs on it.

    Args:
        statuses: Accepted patch states; all but `UpToDate` are a warning.
        rejected_advisories: Security advisories that no accepted state may carry, such as `INTEL-SA-00837`.
        min_tcb_evaluation: Least number of Intel's patch-level evaluation that the collateral is from.
        max_collateral_age_days: Age of Intel's collateral: patch levels, quoting enclave and PCK revocations.
        allow_smt: Whether multithreading may be on.
        allow_dynamic_platform: Whether processors may be added to the platform, as usual for servers.
        allow_cached_keys: Whether the registration service may hold the platform's keys, as usual for servers.
    """

    statuses: tuple[TcbStatus, ...]
    rejected_advisories: tuple[str, ...]
    min_tcb_evaluation: int
    max_collateral_age_days: int
    allow_smt: bool
    allow_dynamic_platform: bool
    allow_cached_keys: bool

    def __post_init__(self) -> None:
        _demand(bool(self.statuses), "accepts no patch state", "list at least 'UpToDate'")
        _demand(self.min_tcb_evaluation >= 0, "has a negative evaluation number", "0 or more")
        _check_days(self.max_collateral_age_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxMeasurement:
    """What a TDX guest booted; 48 bytes each as hexadecimal.

    Args:
        mr_td: Firmware.
        rt_mr0: Hardware set-up, which the size of the machine changes; None compares nothing.
        rt_mr1: Kernel.
        rt_mr2: Its command line and initial file system.
        rt_mr3: What the running guest extended; None compares nothing.
    """

    mr_td: str
    rt_mr0: str | None
    rt_mr1: str
    rt_mr2: str
    rt_mr3: str | None

    def __post_init__(self) -> None:
        for text in (self.mr_td, self.rt_mr0, self.rt_mr1, self.rt_mr2, self.rt_mr3):
            if text is not None:
                _check_hex(text, 48, "measurement register")


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxPolicy:
    """What is demanded of Intel TDX.

    Args:
        measurements: Accepted guests.
        terms: Of the platform.
        allow_migration: Whether the guest may be migratable, or bound to a service guest; the quote library of this version
            refuses both in any case.
        mr_config_id: MRCONFIGID, 48 bytes as hexadecimal; None compares nothing.
    """

    measurements: tuple[TdxMeasurement, ...]
    terms: QuoteTerms
    allow_migration: bool
    mr_config_id: str | None

    def __post_init__(self) -> None:
        _demand(bool(self.measurements), "accepts no measurement", "list at least one")
        if self.mr_config_id is not None:
            _check_hex(self.mr_config_id, 48, "MRCONFIGID")


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxPolicy:
    """What is demanded of Intel SGX. No job can list SGX: this serves `opaque-jobs attest verify`.

    Args:
        mr_enclaves: Accepted enclaves, 32 bytes as hexadecimal.
        terms: Of the platform.
    """

    mr_enclaves: tuple[str, ...]
    terms: QuoteTerms

    def __post_init__(self) -> None:
        _demand(bool(self.mr_enclaves), "accepts no measurement", "list at least one")
        for text in self.mr_enclaves:
            _check_hex(text, 32, "measurement")


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroPolicy:
    """What is demanded of AWS Nitro.

    Args:
        pcrs: Number of a platform configuration register -> accepted values, 48 bytes as hexadecimal. `0`, the image, is needed.
    """

    pcrs: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        _demand(bool(self.pcrs.get("0")), "accepts no image", "give accepted values of PCR '0'")
        for number, values in self.pcrs.items():
            known = number.isascii() and number.isdigit() and number == str(int(number)) and int(number) < 32
            _demand(known and bool(values), "names a register without values, or that does not exist", "0 to 31")
            for text in values:
                _check_hex(text, 48, "register value")
                _demand(text.strip("0") != "" or number != "0", "accepts a debug enclave", "its PCR 0 is all zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeePolicies:
    """The policies of a job: one for each kind of hardware that it lists, and no other."""

    sev_snp: SnpPolicy | None
    tdx: TdxPolicy | None
    nitro: NitroPolicy | None


NO_HARDWARE: Final = TeePolicies(sev_snp=None, tdx=None, nitro=None)
"""For jobs that accept simulated enclaves only."""
