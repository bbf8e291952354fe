"""SEV-SNP evidence as go-sev-guest and the programs on it write it: fields of a protocol-buffer message, binary or as JSON.

The report's bytes are put together again; its signature tells whether that was right.
Shape: Attestation {1: Report, 2: CertificateChain}; a Report's signature (28) is all 512 bytes behind the signed part.
Source: google/go-sev-guest, proto/sevsnp.proto; Protocol Buffers, "Encoding" and "JSON format".
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from opaque_jobs.attestation.snp_report import REPORT_BYTES
from opaque_jobs.errors import InvalidInputError

__all__ = ["MessageReport", "json_report", "message_report"]

_FIELDS: Final = {
    1: ("version", 0x00, 4), 2: ("guestSvn", 0x04, 4), 3: ("policy", 0x08, 8), 4: ("familyId", 0x10, 16),
    5: ("imageId", 0x20, 16), 6: ("vmpl", 0x30, 4), 7: ("signatureAlgo", 0x34, 4), 8: ("currentTcb", 0x38, 8),
    9: ("platformInfo", 0x40, 8), 10: ("signerInfo", 0x48, 4), 11: ("reportData", 0x50, 64), 12: ("measurement", 0x90, 48),
    13: ("hostData", 0xC0, 32), 14: ("idKeyDigest", 0xE0, 48), 15: ("authorKeyDigest", 0x110, 48), 16: ("reportId", 0x140, 32),
    17: ("reportIdMa", 0x160, 32), 18: ("reportedTcb", 0x180, 8), 19: ("chipId", 0x1A0, 64), 20: ("committedTcb", 0x1E0, 8),
    21: ("currentBuild", 0x1E8, 1), 22: ("currentMinor", 0x1E9, 1), 23: ("currentMajor", 0x1EA, 1),
    24: ("committedBuild", 0x1EC, 1), 25: ("committedMinor", 0x1ED, 1), 26: ("committedMajor", 0x1EE, 1),
    27: ("launchTcb", 0x1F0, 8), 28: ("signature", 0x2A0, 512), 29: ("cpuid1eaxFms", 0x188, 3),
    30: ("launchMitVector", 0x1F8, 8), 31: ("currentMitVector", 0x200, 8),
}  # fmt: skip
"""Field -> its name in JSON, where it stands in the report, and its bytes there."""
_BYTES: Final = frozenset({4, 5, 11, 12, 13, 14, 15, 16, 17, 19, 28})
_CPU: Final = 29
_REPORT, _CHAIN = 1, 2
_CERTIFICATES: Final = frozenset({1, 2, 3, 6})
_VARINT, _LENGTH = 0, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReport:
    """A report put together again, and the certificates that came with it."""

    report: bytes
    certificates: tuple[bytes, ...]


def message_report(data: bytes) -> MessageReport | None:
    """Read an untrusted binary message; None if it is no such thing."""
    try:
        parts = _parts(data)
        if not set(parts) <= {_REPORT, _CHAIN, 3} or not isinstance(parts.get(_REPORT), bytes):
            return None
        chain = _parts(_length(parts.get(_CHAIN, b"")))
        certificates = [_length(chain[number]) for number in sorted(_CERTIFICATES & set(chain))]
        report = _put_together(_parts(_length(parts[_REPORT])))
    except (ValueError, OverflowError):
        return None
    return MessageReport(report=report, certificates=tuple(each for each in certificates if each))


def json_report(fields: Mapping[str, Any]) -> bytes:
    """Put an untrusted report together from its JSON form.

    Raises:
        InvalidInputError: It has another form.
    """
    try:
        values: dict[int, int | bytes] = {}
        for number, (name, _, _) in _FIELDS.items():
            if name in fields:
                value = fields[name]
                values[number] = base64.b64decode(value, validate=True) if number in _BYTES else int(value)
        return _put_together(values)
    except (ValueError, TypeError, OverflowError):
        raise InvalidInputError("a report has another form than go-sev-guest writes", hint="give the report as bytes") from None


def _put_together(values: Mapping[int, int | bytes]) -> bytes:
    raw = bytearray(REPORT_BYTES)
    for number, value in values.items():
        _, start, size = _FIELDS.get(number, ("", 0, 0))
        if not size:
            raise ValueError("an unknown field")
        data = _length(value) if number in _BYTES else _number(number, value).to_bytes(size, "little")
        if len(data) != size:
            raise ValueError("another size")
        raw[start : start + size] = data
    return bytes(raw)


def _number(number: int, value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes for a number")  # noqa: TRY004 - one error for every other form
    if number != _CPU:
        return value
    family, model = value >> 8 & 0xF, value >> 4 & 0xF
    if family == 0xF:
        family, model = family + (value >> 20 & 0xFF), model + (value >> 16 & 0xF) * 16
    return family | model << 8 | (value & 0xF) << 16


def _length(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number for bytes")  # noqa: TRY004 - one error for every other form
    return value


def _parts(data: bytes) -> dict[int, int | bytes]:
    """Take a message apart: numbers and byte strings only, each field once."""
    parts: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: int | bytes
        value, at = _varint(data, at)
        if key & 7 == _LENGTH:
            end = at + value
            if end > len(data):
                raise ValueError("cut short")
            value, at = data[at:end], end
        elif key & 7 != _VARINT:
            raise ValueError("another type")
        if key >> 3 in parts:
            raise ValueError("a field twice")
        parts[key >> 3] = value
    return parts


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return number, at + place + 1
    raise ValueError("a number without an end")
