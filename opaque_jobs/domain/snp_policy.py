"""What members demand of AMD SEV-SNP; see `tee_policy`.

Source: AMD publication 56860, SEV Secure Nested Paging Firmware ABI.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opaque_jobs.domain.policy_checks import check_days, check_hex, demand

__all__ = ["SnpLine", "SnpPlatform", "SnpPolicy", "SnpSigner", "SnpTcb"]

_CHIP_BYTES: Final = 64
_MAX_NAME: Final = 200


class SnpLine(StrEnum):
    """AMD's product lines that have SEV-SNP; each has a root of its own and patch levels of its own."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class SnpSigner(StrEnum):
    """Key that signs reports: the chip's own, or one that AMD lends to a cloud provider for all its chips."""

    VCEK = "vcek"
    VLEK = "vlek"


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
        demand(all(0 <= part < 256 for part in self.parts), "has a patch level that is out of range", "0 to 255")

    def covers(self, wanted: "SnpTcb") -> bool:
        """Tell whether each part is at least the wanted one."""
        return all(mine >= least for mine, least in zip(self.parts, wanted.parts, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPlatform:
    """An accepted product line.

    Args:
        line: The line.
        minimum_tcb: Reported patch levels, which the signing key stands for; below these evidence is refused.
        minimum_launch_tcb: Likewise of the firmware that launched the guest.
        minimum_committed_tcb: Likewise of the oldest firmware that the host can still go back to.
        up_to_date_tcb: If any of the three is below it, evidence is taken with a warning.
    """

    line: SnpLine
    minimum_tcb: SnpTcb
    minimum_launch_tcb: SnpTcb
    minimum_committed_tcb: SnpTcb
    up_to_date_tcb: SnpTcb

    def __post_init__(self) -> None:
        minima = (self.minimum_tcb, self.minimum_launch_tcb, self.minimum_committed_tcb)
        demand(
            all(self.up_to_date_tcb.covers(each) for each in minima),
            "calls a patch level up to date that it refuses",
            "raise 'up_to_date_tcb' or lower the minima",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPolicy:
    """What is demanded of AMD SEV-SNP.

    Args:
        measurements: Accepted launch measurements, 48 bytes as hexadecimal.
        platforms: Accepted product lines.
        signers: Accepted kinds of signing key.
        chip_ids: Chips whose VCEK is accepted, 64 bytes as hexadecimal; None accepts any of AMD's, and is a warning.
        csp_ids: Cloud providers whose VLEK is accepted, as the key names them; None accepts any, and is a warning.
        max_vmpl: Highest privilege level number that may have asked for the report; 0 is the most privileged.
        allow_smt: Whether the guest may run with simultaneous multithreading on.
        allow_migration_agent: Whether the guest may have one.
        allow_masked_chip: Whether a VCEK report may hide its chip.
        allow_incomplete_alias_check: Whether the firmware may not have checked that no two addresses lead to the same memory
            (CVE-2024-21944); this and the next two are a warning where they are made use of.
        allow_cxl: Whether the guest's memory may be on CXL devices.
        allow_reserved_bits: Whether bits may be set that the specification reserves, in guest policy, platform, or report.
        host_data: HOST_DATA, 32 bytes as hexadecimal; None compares nothing.
        max_crl_age_days: Age of the revocation list that has to come with the report; None needs none, and is a warning.
    """

    measurements: tuple[str, ...]
    platforms: tuple[SnpPlatform, ...]
    signers: tuple[SnpSigner, ...]
    chip_ids: tuple[str, ...] | None
    csp_ids: tuple[str, ...] | None
    max_vmpl: int
    allow_smt: bool
    allow_migration_agent: bool
    allow_masked_chip: bool
    allow_incomplete_alias_check: bool
    allow_cxl: bool
    allow_reserved_bits: bool
    host_data: str | None
    max_crl_age_days: int | None

    def __post_init__(self) -> None:
        for text in self.measurements:
            check_hex(text, 48, "launch measurement")
        if self.host_data is not None:
            check_hex(self.host_data, 32, "host data")
        lines = [platform.line for platform in self.platforms]
        demand(bool(self.measurements and self.signers), "accepts no measurement or no signing key", "list at least one")
        demand(bool(lines) and len(set(lines)) == len(lines), "names no product line, or one twice", "list each once")
        demand(0 <= self.max_vmpl <= 3, "has a privilege level that is out of range", "0 to 3")
        check_days(self.max_crl_age_days)
        self._check_pins()

    def _check_pins(self) -> None:
        """A kind of signing key that is accepted is pinned, or openly not; one that is not accepted has no pins."""
        for signer, pins, name in (
            (SnpSigner.VCEK, self.chip_ids, "chip_ids"), (SnpSigner.VLEK, self.csp_ids, "csp_ids"),
        ):  # fmt: skip
            demand(
                (pins != ()) if signer in self.signers else not pins,
                f"accepts {signer} keys without '{name}', or has '{name}' without accepting them",
                f"list in '{name}' whose keys may sign; null accepts any, which everybody sees as a warning",
            )
        for text in self.chip_ids or ():
            check_hex(text, _CHIP_BYTES, "chip id")
        sound = all(text.isprintable() and 0 < len(text) <= _MAX_NAME for text in self.csp_ids or ())
        demand(sound, "names a cloud provider in another form", "as the VLEK names it, such as 'CN=cc-us-east-2.amazonaws.com'")
