"""The forms in which people have evidence in files, told apart by their content.

Reports, quotes and documents come as bytes or as text, compressed or not (see `packing`), or inside the JSON of some tool (see
`wrappings`); SEV-SNP reports with a certificate table or certificates behind them, or with a header of the kernel or a cloud
before; quotes and documents with the header of a library. How a file is packed is taken generously, because packing proves
nothing; what is in it is verified strictly.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opaque_jobs.attestation.cert_table import is_table, table_items
from opaque_jobs.attestation.envelope import MAX_EVIDENCE_BYTES, EvidenceEnvelope
from opaque_jobs.attestation.packing import layers
from opaque_jobs.attestation.quote_layout import is_quote
from opaque_jobs.attestation.sev_guest_message import message_report
from opaque_jobs.attestation.snp_report import REPORT_BYTES
from opaque_jobs.attestation.wrappings import Wrapped, unwrap
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError

__all__ = ["EvidenceKind", "ReadEvidence", "read_evidence"]

_KERNEL_HEADER_BYTES: Final = 32
_CLOUD_HEADER: Final = b"HCLA"
"""Azure keeps a report in the virtual TPM, with a header of 32 bytes before it and its own claims behind it."""
_COSE: Final = (b"\x84\x44", b"\xd2\x84\x44")
_NITRO_ANSWER: Final = b"\xa1\x6bAttestation\xa1\x68document\x59"
"""The security module's answer, in CBOR: a map of a map of the document, whose length of two bytes follows."""
_ENCLAVE_HEADER: Final = b"\x01\0\0\0\x02\0\0\0"
"""Open Enclave writes version 1, a type (2 is remote), and the length in eight bytes, before a quote."""
_TDX_TYPE: Final = 0x81
_MOST_WRAPPINGS: Final = 4


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
    return _read(data, _MOST_WRAPPINGS)


def _read(data: bytes, deep: int) -> ReadEvidence:
    for layer in layers(data):
        found = _from_json(layer.strip(), deep) if layer.lstrip().startswith(b"{") else _from_bytes(layer)
        if found is not None:
            return found
    raise InvalidInputError(
        "the file is no evidence that is known here",
        hint="SEV-SNP reports, TDX and SGX quotes, Nitro documents, and this program's own evidence are known",
    )


def _from_bytes(data: bytes) -> ReadEvidence | None:
    if data.startswith(_ENCLAVE_HEADER) and is_quote(data[16:]):
        data = data[16:]
    if is_quote(data):
        kind = EvidenceKind.TDX if int.from_bytes(data[4:8], "little") == _TDX_TYPE else EvidenceKind.SGX
        return ReadEvidence(kind=kind, report=data, collateral=())
    if data.startswith(_NITRO_ANSWER):
        data = data[len(_NITRO_ANSWER) + 2 :]
    if data.startswith(_COSE):
        return ReadEvidence(kind=EvidenceKind.NITRO, report=data, collateral=())
    message = message_report(data)
    if message is not None:
        return ReadEvidence(kind=EvidenceKind.SEV_SNP, report=message.report, collateral=message.certificates)
    return _snp(data)


def _snp(data: bytes) -> ReadEvidence | None:
    """Read a report with what may be around it: a header, a certificate table or certificates behind it, or an unused buffer."""
    kernel_header = b"\0" * 4 + REPORT_BYTES.to_bytes(4, "little") + b"\0" * 24
    if data.startswith(_CLOUD_HEADER):
        data = data[_KERNEL_HEADER_BYTES : _KERNEL_HEADER_BYTES + REPORT_BYTES]
    elif data.startswith(kernel_header):
        data = data[_KERNEL_HEADER_BYTES:]
    report, rest = data[:REPORT_BYTES], data[REPORT_BYTES:]
    if len(report) != REPORT_BYTES or not 0 < int.from_bytes(report[:4], "little") < 256:
        return None
    if not any(rest):
        return ReadEvidence(kind=EvidenceKind.SEV_SNP, report=report, collateral=())
    if not is_table(rest) and not rest.lstrip().startswith((b"-----BEGIN ", b"\x30\x82")):
        return None
    return ReadEvidence(kind=EvidenceKind.SEV_SNP, report=report, collateral=table_items(rest) if is_table(rest) else (rest,))


def _from_json(data: bytes, deep: int) -> ReadEvidence:
    document = parse_json(data, what="evidence")
    if "payloadType" in document:
        return ReadEvidence(kind=EvidenceKind.SIMULATED, report=data, collateral=())
    if set(document) == {"v", "kind", "report", "collateral"}:
        return _from_envelope(data)
    inner: Wrapped = unwrap(document)
    if not deep:
        raise InvalidInputError("the evidence is wrapped too often", hint="give the evidence itself")
    found = _read(inner.evidence, deep - 1)
    return ReadEvidence(kind=found.kind, report=found.report, collateral=(*found.collateral, *inner.beside))


def _from_envelope(data: bytes) -> ReadEvidence:
    envelope = EvidenceEnvelope.parse(data)
    return ReadEvidence(
        kind=EvidenceKind(envelope.kind.value), report=envelope.report_bytes, collateral=envelope.collateral_bytes
    )
