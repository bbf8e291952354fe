"""The forms in which people have evidence in files, told apart by their content.

Reports and quotes come as bytes, as hexadecimal or as base64; SEV-SNP reports with a certificate table behind them, or with the
kernel's header before; from the guest components as JSON; and from this program as its own envelope. How a file is packed is
taken generously, because packing proves nothing; what is in it is verified strictly.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from opaque_jobs.attestation.cert_table import is_table, table_items
from opaque_jobs.attestation.coco import coco_evidence
from opaque_jobs.attestation.envelope import MAX_EVIDENCE_BYTES, EvidenceEnvelope
from opaque_jobs.attestation.quote_layout import is_quote
from opaque_jobs.attestation.snp_report import REPORT_BYTES
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError

__all__ = ["EvidenceKind", "ReadEvidence", "read_evidence"]

_HEXADECIMAL: Final = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
_KERNEL_HEADER_BYTES: Final = 32
_COSE: Final = (b"\x84\x44", b"\xd2\x84\x44")
_TDX_TYPE: Final = 0x81


class EvidenceKind(StrEnum):
    """Kinds of evidence that can be verified from a file; SGX is none that a job can list."""

    SIMULATED = TeeKind.SIMULATED.value
    SEV_SNP = TeeKind.SEV_SNP.value
    TDX = TeeKind.TDX.value
    NITRO = TeeKind.NITRO.value
    SGX = "sgx"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEvidence:
    """What a file holds, unverified.

    Args:
        kind: By its content.
        report: The report, quote, document or statement itself.
        collateral: What came in the same file.
    """

    kind: EvidenceKind
    report: bytes
    collateral: tuple[bytes, ...]


def read_evidence(data: bytes) -> ReadEvidence:
    """Tell what untrusted bytes are.

    Raises:
        InvalidInputError: They are no evidence that is known here.
    """
    if not data or len(data) > MAX_EVIDENCE_BYTES:
        raise InvalidInputError(
            "the evidence is empty or too long", hint="was the right file given?", limit_bytes=MAX_EVIDENCE_BYTES
        )
    if data.lstrip().startswith(b"{"):
        return _from_json(data)
    for form in (data, _decoded(data)):
        found = _from_bytes(form) if form else None
        if found is not None:
            return found
    raise InvalidInputError(
        "the file is no evidence that is known here",
        hint="SEV-SNP reports, TDX and SGX quotes, Nitro documents, and this program's own evidence are known",
    )


def _decoded(data: bytes) -> bytes:
    """Give what hexadecimal or base64 text stands for; nothing if it is neither."""
    text = b"".join(data.split())
    hexadecimal = _HEXADECIMAL.fullmatch(text)
    if hexadecimal:
        return bytes.fromhex(hexadecimal[1].decode("ascii"))
    if not _BASE64.fullmatch(text):
        return b""
    try:
        return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4))
    except binascii.Error:
        return b""


def _from_bytes(data: bytes) -> ReadEvidence | None:
    if is_quote(data):
        kind = EvidenceKind.TDX if int.from_bytes(data[4:8], "little") == _TDX_TYPE else EvidenceKind.SGX
        return ReadEvidence(kind=kind, report=data, collateral=())
    if data.startswith(_COSE):
        return ReadEvidence(kind=EvidenceKind.NITRO, report=data, collateral=())
    return _snp(data)


def _snp(data: bytes) -> ReadEvidence | None:
    """Read a report with what may be around it: the kernel's header (status 0 and the report's length), a certificate table."""
    header = b"\0" * 4 + REPORT_BYTES.to_bytes(4, "little") + b"\0" * 24
    if data.startswith(header):
        data = data[_KERNEL_HEADER_BYTES:]
        if len(data) > REPORT_BYTES and not any(data[REPORT_BYTES:]):
            data = data[:REPORT_BYTES]
    report, rest = data[:REPORT_BYTES], data[REPORT_BYTES:]
    if len(report) != REPORT_BYTES or not 0 < int.from_bytes(report[:4], "little") < 256 or (rest and not is_table(rest)):
        return None
    return ReadEvidence(kind=EvidenceKind.SEV_SNP, report=report, collateral=table_items(rest) if rest else ())


def _from_json(data: bytes) -> ReadEvidence:
    document = parse_json(data, what="evidence")
    if not isinstance(document, Mapping):
        raise InvalidInputError("the evidence is of an unknown form", hint="was the right file given?")
    if "payloadType" in document:
        return ReadEvidence(kind=EvidenceKind.SIMULATED, report=data, collateral=())
    if "collateral" in document:
        return _from_envelope(data)
    kind, report, collateral = coco_evidence(_inner(document))
    return ReadEvidence(kind=EvidenceKind(kind.value), report=report, collateral=collateral)


def _inner(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the evidence out of the wrapping that brokers are sent, if there is one."""
    inner = document.get("primary_evidence")
    return inner if isinstance(inner, Mapping) else document


def _from_envelope(data: bytes) -> ReadEvidence:
    envelope = EvidenceEnvelope.parse(data)
    return ReadEvidence(
        kind=EvidenceKind(envelope.kind.value), report=envelope.report_bytes, collateral=envelope.collateral_bytes
    )
