"""Sealing: HPKE (RFC 9180) in base mode to one recipient, with the context bound in.

Suite: X-Wing / HKDF-SHA256 / AES-256-GCM. The envelope is RFC 8785 JSON; suite, recipient and context stand in it readable
and enter HPKE's `info`, so changing any of them makes opening fail. A seal says nothing about its sender: signatures do.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey, decode_base64
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.errors import TrustError

__all__ = ["SUITE", "open_sealed", "seal"]

SUITE: Final = {"kem": "X-Wing", "kdf": "HKDF-SHA256", "aead": "AES-256-GCM"}
_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_WHAT: Final = "sealed envelope"


def seal(plaintext: bytes, recipient: SealingPublicKey, info: Mapping[str, Any]) -> bytes:
    """Seal bytes to a recipient.

    Args:
        plaintext: What only the recipient may read.
        recipient: Their public key, from trusted context.
        info: What the bytes are and for which purpose; readable by all, authenticated, demanded again on opening.

    Returns:
        The envelope.
    """
    header = {"v": 1, "suite": SUITE, "recipient": recipient.key_id, "info": dict(info)}
    ciphertext = _HPKE.encrypt(plaintext, recipient.for_hpke(), info=canonical_bytes(header))
    return canonical_bytes({**header, "ciphertext": base64.b64encode(ciphertext).decode("ascii")})


def open_sealed(envelope: bytes, key: SealingKey, expected_info: Mapping[str, Any]) -> bytes:
    """Open an envelope that must be sealed to this key and for exactly this context.

    Raises:
        InvalidInputError: It is not an envelope.
        TrustError: Another suite, recipient or context, or it was changed.
    """
    document = parse_canonical(envelope, fields=("v", "suite", "recipient", "info", "ciphertext"), what=_WHAT)
    header = {name: value for name, value in document.items() if name != "ciphertext"}
    if document["v"] != 1 or document["suite"] != SUITE:
        raise TrustError("an envelope uses another version or suite", hint="both sides must run the same program")
    if document["recipient"] != key.public.key_id:
        raise TrustError("an envelope is sealed to another key", hint="open it with the recipient's key")
    if canonical_bytes(document["info"]) != canonical_bytes(dict(expected_info)):
        raise TrustError("an envelope is sealed for another purpose", hint="it belongs to another run, job or dataset")
    try:
        ciphertext = decode_base64(document["ciphertext"], what=_WHAT)
        return _HPKE.decrypt(ciphertext, key.for_hpke(), info=canonical_bytes(header))
    except (InvalidTag, ValueError):
        raise TrustError("an envelope does not open: it was changed", hint="fetch it again") from None
