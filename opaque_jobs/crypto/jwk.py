"""Our Ed25519 keys as JSON Web Keys (RFC 8037), for the tokens that others' libraries read."""

import base64

from joserfc.jwk import OKPKey

from opaque_jobs.crypto.keys import SigningKey, VerifyKey

__all__ = ["private_jwk", "public_jwk"]


def public_jwk(key: VerifyKey) -> OKPKey:
    """Give the key to verify with."""
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _text(key.raw)})


def private_jwk(key: SigningKey) -> OKPKey:
    """Give the key to sign with."""
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _text(key.public.raw), "d": _text(key.seed)})


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
