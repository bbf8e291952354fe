"""What Intel publishes about a platform, put together from the files that people have.

Either one JSON document with all nine parts (as `dcap-qvl` writes it), or the answers of Intel's service one by one: TCB info,
quoting enclave identity, two revocation lists, and the chain of the key that signed the first two. The service gives that
chain in a header, so its value may come as PEM or percent-encoded. Nothing is verified here.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from dcap_qvl import QuoteCollateralV3

from opaque_jobs.attestation.cert_table import is_table, table_items
from opaque_jobs.attestation.certificates import Certificate, parse_certificates, parse_crl, pem_text
from opaque_jobs.domain.canonical import MAX_DOCUMENT_BYTES, parse_json
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["Pieces", "intel_collateral", "parse_pieces"]

_WHOLE: Final = frozenset(
    {
        "pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info", "tcb_info_signature",
        "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature",
    }
)  # fmt: skip
_SIGNED: Final = {"tcbInfo": "tcb_info", "enclaveIdentity": "qe_identity"}
_SIGNER: Final = "Intel SGX TCB Signing"
_ROOT: Final = "Intel SGX Root CA"
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
    certificates: list[Certificate] = []
    crls: list[x509.CertificateRevocationList] = []
    documents: dict[str, tuple[str, str]] = {}
    for item in [part for each in items for part in (table_items(each) if is_table(each) else (each,))]:
        data = item.strip()
        if len(data) > MAX_DOCUMENT_BYTES or not data:
            raise InvalidInputError("a file of the collateral is empty or too long", hint="was the right file given?")
        if data.startswith(b"{"):
            more = _documents(data)
            if set(more.documents) & set(documents):
                raise InvalidInputError("the collateral holds a document twice", hint="give each once")
            certificates += more.certificates
            crls += more.crls
            documents |= more.documents
        elif data.startswith(b"-----BEGIN%20"):
            certificates += parse_certificates(unquote_to_bytes(data))
        elif _is_crl(item):
            crls.append(parse_crl(_from_hex(item)))
        else:
            certificates += parse_certificates(item)
    return Pieces(certificates=tuple(certificates), crls=tuple(crls), documents=documents)


def _from_hex(item: bytes) -> bytes:
    """Give a revocation list as bytes; Intel's caching service writes DER as hexadecimal."""
    try:
        return bytes.fromhex(item.decode("ascii")) if item[:2] == b"30" else item
    except (ValueError, UnicodeDecodeError):
        return item


def _is_crl(item: bytes) -> bool:
    if item.startswith(b"-----BEGIN"):
        return item.startswith(b"-----BEGIN X509 CRL")
    try:
        x509.load_der_x509_crl(_from_hex(item))
    except ValueError:
        return False
    return True


def _documents(data: bytes) -> Pieces:
    document = parse_json(data, what="collateral")
    if set(document) >= _WHOLE:
        return _whole(document)
    names = [name for name in _SIGNED if name in document]
    if len(names) != 1 or set(document) != {names[0], "signature"} or not isinstance(document["signature"], str):
        raise InvalidInputError(
            "a JSON file of the collateral is of an unknown kind", hint="give Intel's answers as they came, or dcap-qvl's JSON"
        )
    # What is signed is the text between the braces as it came, not the values in it.
    text = data.decode()
    start, end = text.index("{", 1), text.rindex("}", 0, len(text) - 1) + 1
    signed = text[start:end]
    if parse_json(signed.encode(), what="collateral") != document[names[0]]:
        raise InvalidInputError("a JSON file of the collateral was written anew", hint="give Intel's answer as it came")
    return Pieces(certificates=(), crls=(), documents={_SIGNED[names[0]]: (signed, document["signature"])})


def _whole(document: dict[str, Any]) -> Pieces:
    if not all(isinstance(document[name], str) for name in _WHOLE):
        raise InvalidInputError("the collateral has another form than expected", hint="give dcap-qvl's JSON")
    chains = [document[name].encode() for name in sorted(_WHOLE) if name.endswith("_chain")]
    try:
        lists = [bytes.fromhex(document[name]) for name in ("root_ca_crl", "pck_crl")]
    except ValueError:
        raise InvalidInputError("a revocation list of the collateral is not hexadecimal", hint="give dcap-qvl's JSON") from None
    return Pieces(
        certificates=tuple(each for chain in chains for each in parse_certificates(chain)),
        crls=tuple(parse_crl(each) for each in lists),
        documents={name: (document[name], document[f"{name}_signature"]) for name in ("tcb_info", "qe_identity")},
    )


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
        stamps = [datetime.fromisoformat(json.loads(text)["issueDate"]) for text in (tcb_info, identity)]
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
