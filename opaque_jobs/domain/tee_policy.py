"""What members demand of real hardware before it may get keys: part of the job that they sign.

One policy for each kind of hardware. They are reference values (RFC 9334): evidence is verified first, then compared with
these. A kind without a policy cannot be listed in a job, and nothing here has a default: who writes a job decides each item.
Debug modes are not an item, because no policy can allow them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opaque_jobs.domain.policy_checks import check_days, check_hex, demand
from opaque_jobs.domain.snp_policy import SnpLine, SnpPlatform, SnpPolicy, SnpSigner, SnpTcb

__all__ = [
    "NITRO_IMAGE",
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


class TcbStatus(StrEnum):
    """Intel's word on a platform's patch level, without `Revoked`, which nothing allows."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"


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
        demand(bool(self.statuses), "accepts no patch state", "list at least 'UpToDate'")
        demand(self.min_tcb_evaluation >= 0, "has a negative evaluation number", "0 or more")
        check_days(self.max_collateral_age_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxMeasurement:
    """What a TDX guest booted; 48 bytes each as hexadecimal.

    Args:
        mr_td: Firmware.
        rt_mr0: Hardware set-up, which the size of the machine changes; None compares nothing, and is a warning.
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
                check_hex(text, 48, "measurement register")


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxPolicy:
    """What is demanded of Intel TDX.

    Args:
        measurements: Accepted guests.
        td_attributes: Accepted TD_ATTRIBUTES, 8 bytes as hexadecimal, as the quote has them; None looks at debug and migration
            alone, and is a warning.
        xfam: Accepted XFAM, the processor's features that the guest has, likewise; None compares nothing, and is a warning.
        terms: Of the platform.
        allow_migration: Whether the guest may be migratable, or bound to a service guest; the quote library of this version
            refuses both in any case.
        mr_config_id: MRCONFIGID, 48 bytes as hexadecimal; None compares nothing.
    """

    measurements: tuple[TdxMeasurement, ...]
    td_attributes: tuple[str, ...] | None
    xfam: tuple[str, ...] | None
    terms: QuoteTerms
    allow_migration: bool
    mr_config_id: str | None

    def __post_init__(self) -> None:
        demand(bool(self.measurements), "accepts no measurement", "list at least one")
        demand(
            () not in {self.td_attributes, self.xfam}, "accepts no TD attributes or XFAM", "list at least one, or null for any"
        )
        for text in (*(self.td_attributes or ()), *(self.xfam or ())):
            check_hex(text, 8, "value of TD attributes or XFAM")
        if self.mr_config_id is not None:
            check_hex(self.mr_config_id, 48, "MRCONFIGID")


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
        demand(bool(self.mr_enclaves), "accepts no measurement", "list at least one")
        for text in self.mr_enclaves:
            check_hex(text, 32, "measurement")


NITRO_IMAGE: Final = ("0", "1", "2")
"""Registers that measure the image; all zero in a debug enclave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroPolicy:
    """What is demanded of AWS Nitro.

    Args:
        pcrs: Number of a platform configuration register -> accepted values, 48 bytes as hexadecimal. `0`, the image, is needed.
            `1`, kernel and boot, and `2`, the application, are a warning if they are left out: they tell apart what the image
            puts one after the other.
    """

    pcrs: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        demand(bool(self.pcrs.get("0")), "accepts no image", "give accepted values of PCR '0'")
        for number, values in self.pcrs.items():
            known = number.isascii() and number.isdigit() and number == str(int(number)) and int(number) < 32
            demand(known and bool(values), "names a register without values, or that does not exist", "0 to 31")
            for text in values:
                check_hex(text, 48, "register value")
                demand(text.strip("0") != "" or number not in NITRO_IMAGE, "accepts a debug enclave", "its PCRs 0 to 2 are zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeePolicies:
    """The policies of a job: one for each kind of hardware that it lists, and no other."""

    sev_snp: SnpPolicy | None
    tdx: TdxPolicy | None
    nitro: NitroPolicy | None


NO_HARDWARE: Final = TeePolicies(sev_snp=None, tdx=None, nitro=None)
"""For jobs that accept simulated enclaves only."""
