"""The JSON in which tools hand evidence on: which field holds it, and which hold certificates.

Guest components and verifiers of Confidential Containers, snpguest, go-sev-guest, the clouds' agents and command lines each have
names of their own for the same bytes. Whatever is found is verified like a bare file; a field that is not known is passed over.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opaque_jobs.attestation.coco import report_bytes
from opaque_jobs.attestation.sev_guest_message import json_report
from opaque_jobs.errors import InvalidInputError

__all__ = ["Wrapped", "unwrap"]

_EVIDENCE: Final = (
    "verification_requests", "tee-evidence", "tee_evidence", "primary_evidence", "evidence", "attestation_report", "hcl_report",
    "outblob", "report", "td_quote", "tdx", "quote", "attestation_document", "attestation_doc", "attestationDocument", "document",
    "sevSnpAttestation", "attestation",
)  # fmt: skip
"""Fields that hold evidence, or a document that does, in the order in which they are looked at."""
_BESIDE: Final = (
    "cert_chain", "certificate_chain", "certificateChain", "certificates", "certs", "auxblob", "vcek", "vlek", "vcekCert",
    "collateral",
)  # fmt: skip
_INTEL: Final = ("tcb_info", "qe_identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What a document wraps: bytes or text of evidence, and of what came beside it."""

    evidence: bytes
    beside: tuple[bytes, ...]


def unwrap(document: Mapping[str, Any]) -> Wrapped:
    """Find the evidence in untrusted JSON.

    Raises:
        InvalidInputError: There is none, or it is of another form than the tools write.
    """
    try:
        for name in _EVIDENCE:
            evidence = _evidence(document.get(name))
            if evidence:
                return Wrapped(evidence=evidence, beside=tuple(each for field in _BESIDE for each in _files(document.get(field))))
    except RecursionError:
        pass
    raise InvalidInputError(
        "the JSON holds no evidence that is known here", hint="give the report, quote or document itself, as bytes or as text"
    )


def _evidence(value: Any) -> bytes:
    """Give what a field holds: text, numbers, or a document to be unwrapped in its turn; nothing if it is something else."""
    match value:
        case str():
            return value.encode()
        case [Mapping() as first, *_]:
            return _document(first)
        case list():
            return _octets(value)
        case Mapping():
            return _document(value)
    return b""


def _document(value: Mapping[str, Any]) -> bytes:
    if "family_id" in value:
        return report_bytes(value)
    if "familyId" in value:
        return json_report(value)
    return json.dumps(value).encode() if set(value) & set(_EVIDENCE) else b""


def _files(value: Any) -> Iterator[bytes]:
    """Give files beside evidence: text, numbers, lists of them, or documents whose fields they are."""
    match value:
        case str() if value:
            yield value.encode()
        case list() if value and all(type(each) is int for each in value):
            yield _octets(value)
        case list():
            for each in value:
                yield from _files(each)
        case Mapping() if set(value) >= set(_INTEL):
            yield json.dumps(value).encode()
        case Mapping() if "cert_type" in value:
            yield from _files(value.get("data"))
        case Mapping():
            for each in value.values():
                yield from _files(each)


def _octets(value: list[Any]) -> bytes:
    return bytes(value) if all(type(each) is int and 0 <= each < 256 for each in value) else b""
