"""What Intel publishes about a platform, put together from the files that people have.

Either one JSON document with all parts (as `dcap-qvl` or Intel's own library writes it), or the answers of Intel's service one by
one: TCB info, quoting enclave identity, two revocation lists, and the chain of the key that signed the first two. The service
gives that chain in a header, so its value may come as PEM or percent-encoded. Certificates of all makers come the same ways,
and in the JSON of a cloud's host. Nothing is verified here.
"""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from dcap_qvl import QuoteCollateralV3

from opaque_jobs.attestation.cert_table import is_table, table_items
from opaque_jobs.attestation.certificates import (
    CERTIFICATE,
    REVOCATION_LIST,
    Certificate,
    is_pem,
    parse_certificate,
    parse_crl,
    pem_blocks,
    pem_text,
)
from opaque_jobs.attestation.packing import der_items, layers
from opaque_jobs.domain.canonical import MAX_DOCUMENT_BYTES, parse_json
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["Pieces", "intel_collateral", "parse_pieces", "quote_chain"]

_WHOLE: Final = frozenset(
    {
        "pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info", "tcb_info_signature",
        "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature",
    }
)  # fmt: skip
_CHAINED: Final = frozenset(name for name in _WHOLE if not name.endswith("_signature"))
_OWN_CHAIN: Final = "pck_certificate_chain"
_SEQUENCE: Final = b"\x30"
_SIGNED: Final = {"tcbInfo": "tcb_info", "enclaveIdentity": "qe_identity"}
_SIGNER: Final = "Intel SGX TCB Signing"
_PLATFORM_KEY: Final = "Intel SGX PCK Certificate"
_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What came with evidence, sorted.

    Args:
        certificates: All of them.
        crls: Revocation lists.
        documents: Intel's signed answers: `tcb_info` or `qe_identity` -> (text that is signed, signature as hexadecimal).
    """

    certificates: tuple[Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]
    documents: dict[str, tuple[str, str]]


def parse_pieces(items: Sequence[bytes]) -> Pieces:
    """Sort untrusted files by what is in them: certificates, revocation lists, Intel's documents.

    Raises:
        InvalidInputError: One is none of these, or a document comes twice.
    """
    return _together([_piece(part) for item in items for part in _parts(item)])


def _parts(item: bytes) -> tuple[bytes, ...]:
    """Take a certificate table apart; what is in it is taken for no table again, since an entry may point to the table itself."""
    table = next((data for data in layers(item) if is_table(data)), None)
    return (item,) if table is None else table_items(table)


def _together(found: Sequence[Pieces]) -> Pieces:
    documents: dict[str, tuple[str, str]] = {}
    for each in found:
        if set(each.documents) & set(documents):
            raise InvalidInputError("the collateral holds a document twice", hint="give each once")
        documents |= each.documents
    return Pieces(
        certificates=tuple(one for each in found for one in each.certificates),
        crls=tuple(one for each in found for one in each.crls),
        documents=documents,
    )


def _piece(item: bytes) -> Pieces:
    if len(item) > MAX_DOCUMENT_BYTES:
        raise InvalidInputError("a file of the collateral is too long", hint="was the right file given?")
    for layer in layers(item):
        if layer.lstrip().startswith(b"{"):
            return _from_json(layer.strip())
        data = unquote_to_bytes(layer) if layer.startswith(b"-----BEGIN%20") else layer
        if is_pem(data):
            return _together([_labelled(label, der) for label, der in pem_blocks(data)])
        if data.startswith(_SEQUENCE):
            return _together([_labelled(_told(der), der) for der in der_items(data)])
    raise InvalidInputError(
        "a file is neither certificate, nor revocation list, nor Intel's answer",
        hint="give PEM, DER, or the JSON of Intel's service",
    )


def _labelled(label: str, der: bytes) -> Pieces:
    if label == REVOCATION_LIST:
        return Pieces(certificates=(), crls=(parse_crl(der),), documents={})
    if label == CERTIFICATE:
        return Pieces(certificates=(parse_certificate(der),), crls=(), documents={})
    raise InvalidInputError("a PEM file holds something else than certificates and revocation lists", hint="give these only")


def _told(der: bytes) -> str:
    try:
        x509.load_der_x509_crl(der)
    except (ValueError, x509.InvalidVersion):
        return CERTIFICATE
    return REVOCATION_LIST


def _from_json(data: bytes) -> Pieces:
    document = parse_json(data, what="collateral")
    if set(document) >= _WHOLE:
        return _whole(document)
    if set(document) >= _CHAINED:
        return _chained(document)
    names = [name for name in _SIGNED if name in document]
    if len(names) == 1 and set(document) == {names[0], "signature"} and isinstance(document["signature"], str):
        return _answer(data.decode(), names[0], document)
    texts = [each for each in document.values() if isinstance(each, str) and is_pem(each.encode())]
    if not texts:
        raise InvalidInputError(
            "a JSON file of the collateral is of an unknown kind", hint="give Intel's answers as they came, or dcap-qvl's JSON"
        )
    return _together([_piece(each.encode()) for each in texts])


def _answer(text: str, name: str, document: dict[str, Any]) -> Pieces:
    """Read an answer of Intel's service: what is signed is the text between the braces as it came, not the values in it."""
    start, end = text.find("{", 1), text.rfind("}", 0, len(text) - 1) + 1
    signed = text[start:end]
    if parse_json(signed.encode(), what="collateral") != document[name]:
        raise InvalidInputError("a JSON file of the collateral was written anew", hint="give Intel's answer as it came")
    return Pieces(certificates=(), crls=(), documents={_SIGNED[name]: (signed, document["signature"])})


def _whole(document: dict[str, Any]) -> Pieces:
    """Read dcap-qvl's form: signatures beside the texts, revocation lists in hexadecimal."""
    parts = _texts(document, _WHOLE)
    named = {name: (parts[name], parts[f"{name}_signature"]) for name in _SIGNED.values()}
    pieces = [_piece(parts[name].encode()) for name in sorted(parts) if name.endswith(("_chain", "_crl"))]
    return _together([*pieces, Pieces(certificates=(), crls=(), documents=named)])


def _chained(document: dict[str, Any]) -> Pieces:
    """Read the form of Intel's own library: each text is an answer of the service, with its signature inside."""
    return _together([_piece(part.encode()) for _, part in sorted(_texts(document, _CHAINED).items())])


def _texts(document: dict[str, Any], wanted: AbstractSet[str]) -> dict[str, str]:
    """Give the parts that are wanted, and the chain of the platform's own key, which newer tools put beside them."""
    found = {name: part for name, part in document.items() if name in wanted or (name == _OWN_CHAIN and part)}
    if not all(isinstance(part, str) for part in found.values()):
        raise InvalidInputError("the collateral has another form than expected", hint="give dcap-qvl's JSON")
    return found


def intel_collateral(pieces: Pieces, quote_chain: Sequence[Certificate]) -> tuple[QuoteCollateralV3, datetime]:
    """Put Intel's collateral together for a quote.

    Args:
        pieces: What came with it.
        quote_chain: The chain in the quote: PCK, its issuer, the root.

    Returns:
        The collateral, unverified, and when the oldest part of it was issued that changes monthly (not the root's revocations).

    Raises:
        InvalidInputError: A part does not parse.
        TrustError: A part is missing, or comes twice.
    """
    issuer, root = quote_chain[1], quote_chain[-1]
    signer = _one([each for each in pieces.certificates if each.common_name == _SIGNER], "the chain of Intel's TCB signing key")
    root_crl = _one_crl(pieces, root, "the revocation list of Intel's root")
    pck_crl = _one_crl(pieces, issuer, "the revocation list of the PCK's issuer")
    for name in _SIGNED.values():
        if name not in pieces.documents or not _SIGNATURE.fullmatch(pieces.documents[name][1]):
            raise TrustError(f"the collateral lacks Intel's {name}", hint="give Intel's answers with --collateral")
    (tcb_info, tcb_signature), (identity, identity_signature) = (pieces.documents[name] for name in _SIGNED.values())
    signing_chain = pem_text([signer.der, root.der])
    try:
        documents = [parse_json(text.encode(), what="collateral") for text in (tcb_info, identity)]
        stamps = [datetime.fromisoformat(each["issueDate"]) for each in documents]
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError("Intel's collateral has no date of issue", hint="give Intel's answers as they came") from None
    if any(stamp.tzinfo is None for stamp in stamps):
        raise InvalidInputError("Intel's collateral has a date without a zone", hint="give Intel's answers as they came")
    collateral = QuoteCollateralV3(
        pck_crl_issuer_chain=pem_text([each.der for each in quote_chain[1:]]),
        root_ca_crl=root_crl.public_bytes(Encoding.DER),
        pck_crl=pck_crl.public_bytes(Encoding.DER),
        tcb_info_issuer_chain=signing_chain,
        tcb_info=tcb_info,
        tcb_info_signature=bytes.fromhex(tcb_signature),
        qe_identity_issuer_chain=signing_chain,
        qe_identity=identity,
        qe_identity_signature=bytes.fromhex(identity_signature),
    )
    return collateral, min(*stamps, pck_crl.last_update_utc)


def quote_chain(pieces: Pieces) -> list[Certificate]:
    """Find the chain of the platform's key beside a quote that does not bring it: PCK, its issuer, the root.

    Raises:
        TrustError: A part is missing, or comes twice.
    """
    leaf = _one([each for each in pieces.certificates if each.common_name == _PLATFORM_KEY], "the platform's certificate (PCK)")
    issuer = _one([each for each in pieces.certificates if each.subject == leaf.issuer], "the PCK's issuer")
    return [leaf, issuer, _one([each for each in pieces.certificates if each.subject == issuer.issuer], "Intel's root")]


def _one(found: Sequence[Certificate], what: str) -> Certificate:
    different = {each.der: each for each in found}
    if len(different) != 1:
        raise TrustError(f"the collateral lacks {what}, or has two", hint="give it with --collateral or --cert")
    return found[0]


def _one_crl(pieces: Pieces, issuer: Certificate, what: str) -> x509.CertificateRevocationList:
    found = {each.public_bytes(Encoding.DER): each for each in pieces.crls if each.issuer.public_bytes() == issuer.subject}
    if len(found) != 1:
        raise TrustError(f"the collateral lacks {what}, or has two", hint="give it with --collateral")
    return next(iter(found.values()))
