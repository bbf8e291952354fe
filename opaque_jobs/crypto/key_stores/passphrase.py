"""The file store: the secret stands in the key file itself, under a passphrase.

scrypt (n = 2^17, r = 8, p = 1) and AES-256-GCM. The cost is fixed: a file that names another one is refused, so nobody can
weaken it or make opening it take all memory.
"""

import os
import unicodedata
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opaque_jobs.crypto.key_stores.base import Held
from opaque_jobs.crypto.keys import decode_base64, encode_base64
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["MIN_PASSPHRASE", "PassphraseStore"]

MIN_PASSPHRASE: Final = 8
_N: Final = 2**17
_KDF: Final = f"scrypt n={_N} r=8 p=1"
_CIPHER: Final = "aes-256-gcm"
_FIELDS: Final = {"kdf", "salt", "cipher", "nonce", "secret"}
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_WHAT: Final = "the key file"


class PassphraseStore:
    """Keeps secrets encrypted under a passphrase."""

    secret_name = "passphrase"  # noqa: S105 - what it is called
    chosen = True
    required = ()
    optional = ()

    def protect(self, secret: str, plain: bytes, *, where: Mapping[str, str], label: str, bound_to: bytes) -> Held:
        """Encrypt under a passphrase; place and label are of no use here.

        Raises:
            InvalidInputError: The passphrase is too short.
        """
        del where, label
        if len(secret) < MIN_PASSPHRASE:
            raise InvalidInputError("the passphrase is too short", hint=f"use at least {MIN_PASSPHRASE} characters")
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        sealed = AESGCM(_stretch(secret, salt)).encrypt(nonce, plain, bound_to)
        fixed = {"kdf": _KDF, "cipher": _CIPHER}
        return {**fixed, "salt": encode_base64(salt), "nonce": encode_base64(nonce), "secret": encode_base64(sealed)}

    def reveal(self, secret: str, held: Held, *, bound_to: bytes) -> bytes:
        """Open with the passphrase.

        Raises:
            InvalidInputError: It is of another form, or uses another cost.
            TrustError: The passphrase is wrong, or something was changed.
        """
        if set(held) != _FIELDS or held["kdf"] != _KDF or held["cipher"] != _CIPHER:
            raise InvalidInputError(f"{_WHAT} is of another version or uses another cost", hint="was it made by this program?")
        salt, nonce, sealed = (decode_base64(held[name], what=_WHAT) for name in ("salt", "nonce", "secret"))
        try:
            return AESGCM(_stretch(secret, salt)).decrypt(nonce, sealed, bound_to)
        except (InvalidTag, ValueError):
            raise TrustError("the passphrase does not open the key file", hint="try again; there is no way around it") from None


def _stretch(passphrase: str, salt: bytes) -> bytes:
    typed = unicodedata.normalize("NFC", passphrase).encode()
    return Scrypt(salt=salt, length=32, n=_N, r=8, p=1).derive(typed)
