"""Signed statements: a DSSE envelope with one Ed25519 signature over an in-toto Statement v1 in RFC 8785 form.

Nothing about trust comes from the envelope: the caller says which key, predicate type and subject it expects. One form only
is accepted (canonical JSON, canonical base64, one signature, no extra field), so an envelope has one digest.
Source: DSSE v1.0.2; in-toto attestation framework, Statement v1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature

from opaque_jobs.crypto.keys import Signer, VerifyKey, decode_base64
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical, require_fields
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "PAYLOAD_TYPE",
    "Statement",
    "claimed_key_id",
    "claimed_subject",
    "claimed_type",
    "sign_statement",
    "verify_statement",
    "verify_statement_by",
]

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_DIGEST_PREFIX: Final = "sha256:"
_HEX_CHARACTERS: Final = 64
_SIGNATURE_BYTES: Final = 64
_WHAT: Final = "signed statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a verified envelope says.

    Trust: signature, form and predicate type are verified; the predicate's own fields are the caller's to parse.
    """

    key_id: str
    predicate_type: str
    subject_name: str
    subject_digest: str
    predicate: dict[str, Any]


def sign_statement(
    signer: Signer, *, predicate_type: str, subject_name: str, subject_digest: str, predicate: Mapping[str, Any]
) -> bytes:
    """Sign a statement about one digest.

    Args:
        signer: Whose statement it is.
        predicate_type: What kind, `urn:opaque-jobs:...`.
        subject_name: What the digest is of, for readers.
        subject_digest: `sha256:<hex>`.
        predicate: What is said about it.

    Returns:
        The envelope as canonical JSON.

    Raises:
        InvalidInputError: The digest has another form, or the predicate is not JSON.
    """
    payload = canonical_bytes(
        {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": subject_name, "digest": {"sha256": _hex_of(subject_digest)}}],
            "predicateType": predicate_type,
            "predicate": dict(predicate),
        }
    )
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    key_id = signer.public.key_id
    envelope.signatures[key_id] = Signature(key_id, signer.sign(envelope.pae()).hex())
    return canonical_bytes(envelope.to_dict())


def claimed_key_id(envelope: bytes) -> str:
    """Say which key an envelope claims to be signed by, to look it up among the keys that one trusts.

    Trust: nothing is verified.

    Raises:
        InvalidInputError: It is not an envelope.
    """
    return _claimed_by(_parse_envelope(envelope))


def _claimed_by(parsed: Envelope) -> str:
    return str(next(iter(parsed.signatures)))


def claimed_subject(envelope: bytes) -> str:
    """Say which digest an envelope claims to be about, to look up what it must be verified against.

    Trust: nothing is verified.

    Raises:
        InvalidInputError: It is not an envelope around a statement.
    """
    return _subject_of(_parse_statement(_parse_envelope(envelope).payload))[1]


def claimed_type(envelope: bytes) -> str:
    """Return the predicate type that an envelope claims, to tell what it could be. Trust and errors as `claimed_subject`."""
    return str(_parse_statement(_parse_envelope(envelope).payload)["predicateType"])


def verify_statement(envelope: bytes, key: VerifyKey, *, predicate_type: str) -> Statement:
    """Verify an envelope against a key from trusted context.

    Raises:
        InvalidInputError: It does not have the one accepted form.
        TrustError: Another key, another kind of statement, or a signature that does not hold.
    """
    return verify_statement_by(envelope, lambda _claimed: key, predicate_type=predicate_type)


def verify_statement_by(envelope: bytes, speaker: Callable[[str], VerifyKey], *, predicate_type: str) -> Statement:
    """Verify an envelope against the key, from trusted context, that has the id which the envelope claims.

    Args:
        envelope: Untrusted.
        speaker: Gives the key by its id; raises for a stranger's.
        predicate_type: The kind of statement that is expected.

    Raises:
        InvalidInputError: It does not have the one accepted form.
        TrustError: Another key, another kind of statement, or a signature that does not hold.
    """
    # 1. The form, before anything is believed.
    parsed = _parse_envelope(envelope)
    key = speaker(_claimed_by(parsed))
    # 2. Exactly one signature, by the expected key, over payload and payload type.
    signature = parsed.signatures.get(key.key_id)
    if signature is None:
        raise TrustError("a statement is signed with another key", hint="its signer is not who it should be")
    key.verify(bytes.fromhex(signature.signature), parsed.pae())
    # 3. The payload is a canonical statement of the expected kind about one digest.
    body = _parse_statement(parsed.payload)
    if body["_type"] != _STATEMENT_TYPE or body["predicateType"] != predicate_type:
        raise TrustError("a statement is of another kind", hint="it was made for another purpose")
    name, subject_digest = _subject_of(body)
    return Statement(
        key_id=key.key_id,
        predicate_type=predicate_type,
        subject_name=name,
        subject_digest=subject_digest,
        predicate=body["predicate"],
    )


def _parse_statement(payload: bytes) -> dict[str, Any]:
    body = parse_canonical(payload, fields=("_type", "subject", "predicateType", "predicate"), what=_WHAT)
    if not isinstance(body["subject"], list) or len(body["subject"]) != 1 or not isinstance(body["predicate"], dict):
        raise InvalidInputError(f"{_WHAT} has not exactly one subject and a predicate", hint="was it made by this program?")
    return body


def _subject_of(body: dict[str, Any]) -> tuple[str, str]:
    subject = require_fields(body["subject"][0], ("name", "digest"), what=_WHAT)
    subject_digest = _DIGEST_PREFIX + str(require_fields(subject["digest"], ("sha256",), what=_WHAT)["sha256"])
    _hex_of(subject_digest)
    if not isinstance(subject["name"], str):
        raise InvalidInputError(f"{_WHAT} has a subject without a name", hint="was it made by this program?")
    return subject["name"], subject_digest


def _hex_of(subject_digest: str) -> str:
    text = subject_digest.removeprefix(_DIGEST_PREFIX)
    if text == subject_digest or len(text) != _HEX_CHARACTERS or set(text) - set("0123456789abcdef"):
        raise InvalidInputError("a subject's digest is not sha256:<hex>", hint="was it made by this program?")
    return text


def _parse_envelope(data: bytes) -> Envelope:
    document = parse_canonical(data, fields=("payload", "payloadType", "signatures"), what=_WHAT)
    signatures = document["signatures"]
    if document["payloadType"] != PAYLOAD_TYPE or not isinstance(signatures, list) or len(signatures) != 1:
        raise InvalidInputError(f"{_WHAT} has not exactly one signature and our type", hint="was it made by this program?")
    only = require_fields(signatures[0], ("keyid", "sig"), what=_WHAT)
    raw_signature = decode_base64(only["sig"], what=_WHAT)
    if not isinstance(only["keyid"], str) or len(raw_signature) != _SIGNATURE_BYTES:
        raise InvalidInputError(f"{_WHAT} has a malformed signature", hint="was it made by this program?")
    signature = Signature(only["keyid"], raw_signature.hex())
    return Envelope(decode_base64(document["payload"], what=_WHAT), PAYLOAD_TYPE, {signature.keyid: signature})
