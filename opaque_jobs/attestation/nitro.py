"""Verifying an AWS Nitro attestation document: COSE_Sign1 by ECDSA P-384, with its chain up to AWS's root inside.

A debug enclave's document is signed like any other, with registers of zeros: that is for `appraisal` to refuse.
Source: RFC 9052, section 4.4; AWS, "Verifying the root of trust" (aws-nitro-enclaves-nsm-api, docs/attestation_process.md).
"""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from opaque_jobs.attestation.certificates import ECDSA_SHA384, parse_certificate
from opaque_jobs.attestation.chain import AWS_ROOTS, Roots, check_chain, is_signed
from opaque_jobs.attestation.claims import NitroClaims
from opaque_jobs.attestation.steps import Steps
from opaque_jobs.errors import InvalidInputError

__all__ = ["claimed_time", "verify_nitro"]

_COSE_SIGN1: Final = b"\xd2"
"""Tag 18, which AWS leaves out."""
_ES384: Final = {1: -35}
_SIGNATURE_BYTES: Final = 96
_MAX_BYTES: Final = 1 << 16
_MAX_DEPTH: Final = 8
_PCR_BYTES: Final = 48
_OPTIONAL: Final = {"user_data": 512, "nonce": 512, "public_key": 1024}
"""Fields that the enclave chooses, with the longest that AWS allows."""
_FIELDS: Final = frozenset({"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", *_OPTIONAL})
_SKEW: Final = timedelta(minutes=5)


def verify_nitro(raw: bytes, *, now: datetime, steps: Steps, roots: Roots = AWS_ROOTS) -> NitroClaims:
    """Verify an untrusted document; all that is needed is in it.

    Args:
        raw: The document, tagged or not.
        now: Aware time. The signing certificate is in force for a few hours only.
        steps: Where steps are taken.
        roots: Roots that are believed.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: A step does not hold.
    """
    protected, unprotected, payload, signature = _envelope(raw)
    header = _cbor(protected, "signed header")
    steps.demand("it is signed by ES384", header == _ES384, "the document names another signature algorithm than ES384")
    steps.demand("it has no unsigned header", unprotected == {}, "the document has a header that is not signed")
    document = _document(payload)
    # 1. The chain: AWS lists it from the root down, without the signing certificate.
    chain = [parse_certificate(der) for der in (document["certificate"], *reversed(document["cabundle"]))]
    check_chain(chain, roots=roots, algorithm=ECDSA_SHA384, now=now, steps=steps)
    # 2. The signature.
    half = _SIGNATURE_BYTES // 2
    numbers = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    to_sign = cbor2.dumps(["Signature1", protected, b"", payload])
    signed = is_signed(issuer=chain[0], signature=encode_dss_signature(*numbers), data=to_sign, algorithm=ECDSA_SHA384)
    steps.demand("the document is signed", signed, "the document is not signed by its certificate")
    # 3. It is not from the future; how old it may be, the nonce says.
    issued_at = _time(document)
    steps.demand("it was issued before now", issued_at <= now + _SKEW, "the document was issued after the time given")
    chosen = {name: document.get(name) or b"" for name in _OPTIONAL}
    return NitroClaims(module_id=document["module_id"], issued_at=issued_at, pcrs=document["pcrs"], **chosen)


def claimed_time(raw: bytes) -> datetime:
    """Give when an untrusted document says that it was issued: believe it only if the document holds at that time.

    Raises:
        InvalidInputError: It does not parse.
    """
    _, _, payload, _ = _envelope(raw)
    return _time(_document(payload))


def _time(document: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(document["timestamp"] / 1000, UTC)


def _envelope(raw: bytes) -> tuple[bytes, Any, bytes, bytes]:
    message = _cbor(raw.removeprefix(_COSE_SIGN1), "document")
    if (
        not isinstance(message, list)
        or len(message) != 4
        or not all(isinstance(message[place], bytes) for place in (0, 2, 3))
        or len(message[3]) != _SIGNATURE_BYTES
    ):
        raise InvalidInputError("this is no COSE_Sign1 document of AWS Nitro", hint="was the right file given?")
    return message[0], message[1], message[2], message[3]


def _cbor(data: bytes, what: str) -> Any:
    """Read exactly one CBOR item of known length; keys of a map must differ."""
    if len(data) > _MAX_BYTES:
        raise InvalidInputError(f"the Nitro {what} is too long", hint="was the right file given?", limit_bytes=_MAX_BYTES)
    stream = BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream, max_depth=_MAX_DEPTH, allow_duplicate_keys=False, allow_indefinite=False, strict_hashable_types=False
    )
    try:
        item = decoder.decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError, EOFError):
        raise InvalidInputError(f"the Nitro {what} is not well-formed CBOR", hint="was the file damaged?") from None
    if stream.tell() != len(data):
        raise InvalidInputError(f"the Nitro {what} has bytes after it", hint="was the file damaged?")
    return item


def _document(payload: bytes) -> dict[str, Any]:
    document = _cbor(payload, "document's content")
    what = InvalidInputError("the Nitro document has another content than AWS describes", hint="was the right file given?")
    if not isinstance(document, dict) or not set(document) <= _FIELDS or not _FIELDS - set(_OPTIONAL) <= set(document):
        raise what
    pcrs, bundle, stamp = document["pcrs"], document["cabundle"], document["timestamp"]
    sound = (
        isinstance(document["module_id"], str)
        and document["module_id"] != ""
        and document["digest"] == "SHA384"
        and type(stamp) is int
        and 0 < stamp < 1 << 47
        and isinstance(document["certificate"], bytes)
        and isinstance(bundle, list)
        and 1 <= len(bundle) <= 8
        and all(isinstance(each, bytes) for each in bundle)
        and isinstance(pcrs, dict)
        and 0 in pcrs
        and all(type(number) is int and 0 <= number < 32 for number in pcrs)
        and all(isinstance(value, bytes) and len(value) == _PCR_BYTES for value in pcrs.values())
    )
    for name, limit in _OPTIONAL.items():
        value = document.get(name)
        sound = sound and (value is None or (isinstance(value, bytes) and len(value) <= limit))
    if not sound:
        raise what
    return document
