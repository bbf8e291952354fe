"""Keys in memory: Ed25519 for signing, X-Wing (ML-KEM-768 with X25519) for sealing, and their ids.

A key id is `sha256:<hex>` over the raw public bytes, everywhere. Private keys never show themselves in `repr` or errors.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from os import urandom
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from opaque_jobs.domain.canonical import digest
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["BrokerKeys", "SealingKey", "SealingPublicKey", "Signer", "SigningKey", "VerifyKey", "decode_base64", "encode_base64"]

SEED_BYTES: Final = 32
_ED25519_BYTES: Final = 32
_MLKEM_PUBLIC_BYTES: Final = 1184
_X_WING_PUBLIC_BYTES: Final = 1216


def decode_base64(text: object, *, what: str) -> bytes:
    """Decode standard, padded base64, and only its one canonical form.

    Raises:
        InvalidInputError: It is anything else.
    """
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        raw = None
    if raw is None or encode_base64(raw) != text:
        raise InvalidInputError(f"{what} is not base64", hint="was it copied whole?")
    return raw


def encode_base64(raw: bytes) -> str:
    """Give the standard, padded form."""
    return base64.b64encode(raw).decode("ascii")


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A raw Ed25519 public key."""

    raw: bytes

    def __post_init__(self) -> None:
        """Check the length.

        Raises:
            InvalidInputError: Not 32 bytes.
        """
        if len(self.raw) != _ED25519_BYTES:
            raise InvalidInputError("a signing key has the wrong length", hint="was it copied whole?")

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the base64 form.

        Raises:
            InvalidInputError: Not base64 of 32 bytes.
        """
        return cls(decode_base64(text, what="a public signing key"))

    @property
    def key_id(self) -> str:
        """`sha256:<hex>` of the raw bytes."""
        return digest(self.raw)

    @property
    def text(self) -> str:
        """The base64 form."""
        return encode_base64(self.raw)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Check a signature.

        Raises:
            TrustError: The signature is not this key's over these bytes.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            raise TrustError("a signature does not hold", hint="it was changed, or made with another key") from None


class Signer(Protocol):
    """What signs: a key in memory, a token, a key server."""

    @property
    def public(self) -> VerifyKey:
        """The public half."""

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519; 64 bytes."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key, held as its seed."""

    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Make a fresh key."""
        return cls(urandom(SEED_BYTES))

    @property
    def public(self) -> VerifyKey:
        """The public half."""
        return VerifyKey(Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519; 64 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(data)


@dataclass(frozen=True, slots=True)
class SealingPublicKey:
    """A raw X-Wing public key: ML-KEM-768 (1184 bytes), then X25519 (32 bytes)."""

    raw: bytes

    def __post_init__(self) -> None:
        """Check the form.

        Raises:
            InvalidInputError: Not an X-Wing public key.
        """
        self.for_hpke()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the base64 form.

        Raises:
            InvalidInputError: Not base64 of an X-Wing public key.
        """
        return cls(decode_base64(text, what="a public sealing key"))

    @property
    def key_id(self) -> str:
        """`sha256:<hex>` of the raw bytes."""
        return digest(self.raw)

    @property
    def text(self) -> str:
        """The base64 form."""
        return encode_base64(self.raw)

    def for_hpke(self) -> MLKEM768X25519PublicKey:
        """Give the key as `cryptography` wants it.

        Raises:
            InvalidInputError: Not an X-Wing public key.
        """
        try:
            if len(self.raw) != _X_WING_PUBLIC_BYTES:
                raise ValueError  # noqa: TRY301 - one answer for every wrong form
            return MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError:
            raise InvalidInputError("a sealing key is not an X-Wing public key", hint="was it copied whole?") from None


@dataclass(frozen=True, slots=True)
class SealingKey:
    """An X-Wing private key, held as its 32-byte seed.

    Source: draft-connolly-cfrg-xwing-kem, section 5.2: SHAKE-256 expands the seed to ML-KEM's 64 and X25519's 32 bytes.
    """

    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Make a fresh key."""
        return cls(urandom(SEED_BYTES))

    @property
    def public(self) -> SealingPublicKey:
        """The public half."""
        ml_kem, x25519 = self._halves()
        return SealingPublicKey(ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())

    def for_hpke(self) -> MLKEM768X25519PrivateKey:
        """Give the key as `cryptography` wants it."""
        return MLKEM768X25519PrivateKey(*self._halves())

    def _halves(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        expanded = hashlib.shake_256(self.seed).digest(96)
        return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerKeys:
    """The two keys of a broker: deposits are sealed to one, attestation results are signed with the other."""

    sealing: SealingKey
    signing: Signer

    @property
    def signing_seed(self) -> bytes:
        """The signing key's seed, for a copy of it.

        Raises:
            InvalidInputError: A key store signs with it, and it never leaves that.
        """
        if not isinstance(self.signing, SigningKey):
            raise InvalidInputError(
                "the broker's signing key never leaves its key store, so there is no copy of it to make",
                hint="back up the token or key server as its maker says; nothing was written",
            )
        return self.signing.seed
