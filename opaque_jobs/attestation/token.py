"""Signed JSON tokens with one algorithm and one header, so that no token can choose how it is verified.

Small enough for the enclave, which has no JOSE library. Source: RFC 7515 (compact serialisation), RFC 9864 (`Ed25519`).
"""

import base64
import binascii
from typing import Any, Final

from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.domain.canonical import canonical_bytes, parse_json
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["sign_token", "verify_token"]

_HEADER: Final = {"alg": "Ed25519", "typ": "eat+jwt"}
_WHAT: Final = "attestation result"


def sign_token(claims: dict[str, Any], signer: Signer) -> str:
    """Sign claims."""
    signed = f"{_encode(canonical_bytes(_HEADER))}.{_encode(canonical_bytes(claims))}"
    return f"{signed}.{_encode(signer.sign(signed.encode()))}"


def verify_token(token: str, key: VerifyKey) -> Any:
    """Give the claims of a token that is signed with this key.

    Raises:
        TrustError: Another key, algorithm or header, or it was changed, or is no token.
    """
    header, payload, signature = _parts(token)
    key.verify(_decode(signature), f"{header}.{payload}".encode())
    if _parsed(header) != _HEADER:
        raise TrustError(f"an {_WHAT} has a header of its own", hint="fetch the receipt again")
    return _parsed(payload)


def _parts(token: str) -> tuple[str, str, str]:
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise _unsigned()
    return parts[0], parts[1], parts[2]


def _parsed(text: str) -> Any:
    try:
        return parse_json(_decode(text), what=_WHAT)
    except InvalidInputError:
        raise _unsigned() from None


def _unsigned() -> TrustError:
    return TrustError(f"an {_WHAT} is not signed by its broker", hint="fetch the receipt again")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    """Decode what `_encode` gives and nothing else: one token has one text."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if _encode(raw) != text:
        raise _unsigned()
    return raw
