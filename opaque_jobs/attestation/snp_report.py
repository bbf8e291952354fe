"""The attestation report of AMD SEV-SNP, from bytes to fields; nothing is believed yet.

Shape: 1,184 bytes, little-endian; the first 0x2A0 are signed. Patch levels stand in another order from Turin on.
Source: AMD publication 56860, SEV Secure Nested Paging Firmware ABI, "ATTESTATION_REPORT"; 57230 for the key certificates.
"""

import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from opaque_jobs.domain.tee_policy import SnpLine, SnpTcb
from opaque_jobs.errors import InvalidInputError

__all__ = ["REPORT_BYTES", "SnpReport", "line_of_cpu", "parse_report", "tcb_of"]

REPORT_BYTES: Final = 0x4A0
_SIGNED_BYTES: Final = 0x2A0
_COMPONENT_BYTES: Final = 72
_P384_BYTES: Final = 48
_VERSIONS: Final = range(2, 6)
_WITH_CPUID: Final = 3
_WITH_MITIGATIONS: Final = 5
_ECDSA_P384_SHA384: Final = 1
_ORDER: Final = {
    SnpLine.MILAN: ("bootloader", "tee", "", "", "", "", "snp", "microcode"),
    SnpLine.GENOA: ("bootloader", "tee", "", "", "", "", "snp", "microcode"),
    SnpLine.TURIN: ("fmc", "bootloader", "tee", "snp", "", "", "", "microcode"),
}
"""What each of the eight bytes of a TCB_VERSION is; empty is reserved."""
_MUST_BE_ONE: Final = 1 << 17
_POLICY_BITS: Final = (1 << 26) - 1
"""Defined bits of the guest policy: up to PAGE_SWAP_DISABLE; the one above must be set though it is reserved."""
_PLATFORM_BITS: Final = (1 << 8) - 1
"""Defined bits of PLATFORM_INFO: up to TIO_EN."""
_FLAG_BITS: Final = (1 << 5) - 1
"""Author key, masked key, and kind of signing key."""
_RESERVED: Final = ((0x4C, 0x50), (0x18B, 0x1A0), (0x1EB, 0x1EC), (0x1EF, 0x1F0), (0x208, _SIGNED_BYTES))
"""Reserved bytes of every version; older versions have more, see `reserved_bits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpReport:
    """Fields of a report, unverified; `raw` is all of it. Patch levels stay bytes until the product line is known."""

    raw: bytes
    version: int
    guest_svn: int
    policy: int
    vmpl: int
    platform_info: int
    flags: int
    cpu: tuple[int, int, int] | None

    def _at(self, start: int, size: int) -> bytes:
        return self.raw[start : start + size]

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return self.raw[:_SIGNED_BYTES]

    @property
    def signature(self) -> bytes:
        """The signature as DER."""
        numbers = [int.from_bytes(self._at(_SIGNED_BYTES + start, _P384_BYTES), "little") for start in (0, _COMPONENT_BYTES)]
        return encode_dss_signature(*numbers)

    @property
    def debug(self) -> bool:
        """Bit 19 of the guest policy."""
        return bool(self.policy >> 19 & 1)

    @property
    def migration_agent(self) -> bool:
        """Bit 18 of the guest policy."""
        return bool(self.policy >> 18 & 1)

    @property
    def smt_allowed(self) -> bool:
        """Bit 16 of the guest policy."""
        return bool(self.policy >> 16 & 1)

    @property
    def cxl_allowed(self) -> bool:
        """CXL_ALLOW, bit 21 of the guest policy."""
        return bool(self.policy >> 21 & 1)

    @property
    def alias_checked(self) -> bool:
        """ALIAS_CHECK_COMPLETE, bit 5 of PLATFORM_INFO."""
        return bool(self.platform_info >> 5 & 1)

    @property
    def reserved_bits(self) -> bool:
        """Whether guest policy, PLATFORM_INFO, flags or report have a reserved bit set, or the one cleared that must be set."""
        if self.policy & ~_POLICY_BITS or not self.policy & _MUST_BE_ONE:
            return True
        if self.platform_info & ~_PLATFORM_BITS or self.flags & ~_FLAG_BITS:
            return True
        places = list(_RESERVED)
        if self.version < _WITH_CPUID:
            places.append((0x188, 0x18B))
        if self.version < _WITH_MITIGATIONS:
            places.append((0x1F8, 0x208))
        return any(any(self.raw[start:end]) for start, end in places)

    @property
    def key_masked(self) -> bool:
        """MASK_CHIP_KEY: the firmware did not sign."""
        return bool(self.flags >> 1 & 1)

    @property
    def signing_key(self) -> int:
        """SIGNING_KEY: 0 VCEK, 1 VLEK, 7 none."""
        return self.flags >> 2 & 7

    @property
    def report_data(self) -> bytes:
        """64 bytes that the guest chose."""
        return self._at(0x50, 64)

    @property
    def measurement(self) -> bytes:
        """48 bytes, of what was launched."""
        return self._at(0x90, 48)

    @property
    def host_data(self) -> bytes:
        """32 bytes that the host fixed at launch."""
        return self._at(0xC0, 32)

    @property
    def reported_tcb(self) -> bytes:
        """Patch levels that the signing key is derived from."""
        return self._at(0x180, 8)

    @property
    def committed_tcb(self) -> bytes:
        """Patch levels that the firmware cannot be rolled back behind."""
        return self._at(0x1E0, 8)

    @property
    def launch_tcb(self) -> bytes:
        """Patch levels when the guest was launched."""
        return self._at(0x1F0, 8)

    @property
    def chip_id(self) -> bytes:
        """64 bytes; zero if masked."""
        return self._at(0x1A0, 64)

    def others(self) -> dict[str, str]:
        """Give what no check looks at, for people."""
        digests = {"id_key_digest": (0xE0, 48), "author_key_digest": (0x110, 48), "report_id": (0x140, 32)}
        ids = {"family_id": (0x10, 16), "image_id": (0x20, 16)}
        shown = {"policy": hex(self.policy), "platform_info": hex(self.platform_info)}
        shown |= {name: self._at(*where).hex() for name, where in (ids | digests).items()}
        shown["current_tcb"] = self._at(0x38, 8).hex()
        shown["firmware"] = ".".join(str(self.raw[at]) for at in (0x1EA, 0x1E9, 0x1E8))
        if self.version >= _WITH_MITIGATIONS:
            shown["current_mitigations"] = self._at(0x200, 8)[::-1].hex()
        return shown


def parse_report(raw: bytes) -> SnpReport:
    """Read untrusted bytes.

    Raises:
        InvalidInputError: Not such a report, of an unknown version or algorithm, or with bytes where there must be none.
    """
    if len(raw) != REPORT_BYTES:
        raise InvalidInputError("an SEV-SNP report has another length", hint=f"it is {REPORT_BYTES} bytes long")
    version, guest_svn, policy = struct.unpack_from("<IIQ", raw)
    vmpl, algorithm = struct.unpack_from("<II", raw, 0x30)
    platform_info, flags = struct.unpack_from("<QI", raw, 0x40)
    if version not in _VERSIONS or algorithm != _ECDSA_P384_SHA384:
        raise InvalidInputError(
            "an SEV-SNP report is of an unknown version or signature algorithm",
            hint="versions 2 to 5, signed by ECDSA P-384 with SHA-384, are known",
        )
    # The signature does not cover itself: what it leaves unused has to be zero, or one report would have many forms.
    components = (raw[_SIGNED_BYTES + start : _SIGNED_BYTES + start + _COMPONENT_BYTES] for start in (0, _COMPONENT_BYTES))
    if any(raw[_SIGNED_BYTES + 2 * _COMPONENT_BYTES :]) or any(any(each[_P384_BYTES:]) for each in components):
        raise InvalidInputError("an SEV-SNP report has bytes after its signature", hint="was the file damaged?")
    return SnpReport(
        raw=raw,
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        vmpl=vmpl,
        platform_info=platform_info,
        flags=flags,
        cpu=(raw[0x188], raw[0x189], raw[0x18A]) if version >= _WITH_CPUID else None,
    )


def line_of_cpu(family: int, model: int) -> SnpLine | None:
    """Give the product line of a processor by its CPUID family and model; Siena and Bergamo have Genoa's root."""
    if family == 0x19:
        lines = {0x0: SnpLine.MILAN, 0x1: SnpLine.GENOA, 0xA: SnpLine.GENOA}
        return lines.get(model >> 4)
    return SnpLine.TURIN if family == 0x1A and model >> 4 in {0x0, 0x1} else None


def tcb_of(line: SnpLine, raw: bytes) -> SnpTcb:
    """Read a TCB_VERSION of a product line.

    Raises:
        InvalidInputError: A reserved byte is set.
    """
    parts = {"fmc": 0}
    for name, value in zip(_ORDER[line], raw, strict=True):
        if name:
            parts[name] = value
        elif value:
            raise InvalidInputError("patch levels have a reserved byte set", hint="is the report of another product line?")
    return SnpTcb(**parts)
