"""Sealing by an owner to themself, with a key that is derived from their private sealing key.

Anyone can seal to a public key, so a result that an owner seals anew must not look like that: this seal only the holder of the
private key can make, and nobody else's opens in its place. Source: HKDF (RFC 5869), AES-256-GCM; one key for each seal.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opaque_jobs.crypto.keys import SealingKey, decode_base64, encode_base64
from opaque_jobs.domain.canonical import canonical_bytes, require_fields
from opaque_jobs.errors import TrustError

__all__ = ["open_own", "own_sealed_by", "seal_own"]

_SUITE: Final = "HKDF-SHA256 AES-256-GCM"
_FIELDS: Final = ("v", "suite", "owner", "salt", "info", "ciphertext")
_SALT_BYTES: Final = 32
_NONCE: Final = bytes(12)  # each salt gives a key of its own, which seals once
_WHAT: Final = "a result sealed anew"


def seal_own(plaintext: bytes, key: SealingKey, info: Mapping[str, Any]) -> dict[str, Any]:
    """Seal bytes to oneself.

    Args:
        plaintext: What only oneself may read.
        key: One's own.
        info: What the bytes are; readable by all, authenticated, demanded again on opening.
    """
    header = {
        "v": 1,
        "suite": _SUITE,
        "owner": key.public.key_id,
        "salt": encode_base64(os.urandom(_SALT_BYTES)),
        "info": dict(info),
    }
    sealed = AESGCM(_derived(key, header)).encrypt(_NONCE, plaintext, canonical_bytes(header))
    return {**header, "ciphertext": encode_base64(sealed)}


def own_sealed_by(document: Any) -> str:
    """Say whose seal it claims to be: the id of the owner's public key.

    Raises:
        InvalidInputError: It is no such seal.
    """
    return str(require_fields(document, _FIELDS, what=_WHAT)["owner"])


def open_own(document: Any, key: SealingKey, expected_info: Mapping[str, Any]) -> bytes:
    """Open what one has sealed to oneself for exactly this context.

    Raises:
        InvalidInputError: It is no such seal.
        TrustError: It is another's, for another context, or was changed.
    """
    fields = require_fields(document, _FIELDS, what=_WHAT)
    header = {name: value for name, value in fields.items() if name != "ciphertext"}
    if (header["v"], header["suite"], header["owner"]) != (1, _SUITE, key.public.key_id):
        raise TrustError(f"{_WHAT} is of another key or version", hint="seal it again with 'opaque-jobs result reseal'")
    if canonical_bytes(header["info"]) != canonical_bytes(dict(expected_info)):
        raise TrustError(f"{_WHAT} is for another purpose", hint="it belongs to another run or job")
    try:
        sealed = decode_base64(fields["ciphertext"], what=_WHAT)
        return AESGCM(_derived(key, header)).decrypt(_NONCE, sealed, canonical_bytes(header))
    except (InvalidTag, ValueError):
        raise TrustError(
            f"{_WHAT} does not open: it was changed", hint="seal it again with 'opaque-jobs result reseal'"
        ) from None


def _derived(key: SealingKey, header: Mapping[str, Any]) -> bytes:
    salt = decode_base64(header["salt"], what=_WHAT)
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"opaque-jobs own seal").derive(key.seed)
