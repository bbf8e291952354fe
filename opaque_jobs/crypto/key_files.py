"""Key files: one JSON document per key, its secret under a passphrase, its public part readable without it.

scrypt (n = 2^17, r = 8, p = 1) and AES-256-GCM with the whole header as associated data. The cost is fixed: a file that
names another one is refused, so nobody can weaken it or make opening it take all memory. A checksum tells a damaged file
from a wrong passphrase. Files have mode 0600, appear whole or not at all, and are never overwritten.
"""

import base64
import errno
import os
import stat
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opaque_jobs.crypto.keys import (
    SEED_BYTES,
    BrokerKeys,
    SealingKey,
    SealingPublicKey,
    SigningKey,
    VerifyKey,
    decode_base64,
)
from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_canonical, require_fields
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, TrustError

__all__ = [
    "MIN_PASSPHRASE",
    "KeyKind",
    "PublicKeys",
    "create_key_file",
    "open_broker_keys",
    "open_organisation_key",
    "open_signing_key",
    "read_public_keys",
    "write_new_private_file",
]

MIN_PASSPHRASE: Final = 8
_KDF: Final = {"name": "scrypt", "n": 2**17, "r": 8, "p": 1}
_CIPHER: Final = "aes-256-gcm"
_FIELDS: Final = ("v", "kind", "owner_id", "public", "kdf", "salt", "cipher", "nonce", "secret", "check")
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_MAX_FILE_BYTES: Final = 64 * 1024
_WHAT: Final = "the key file"


class KeyKind(StrEnum):
    """Whose key a file holds."""

    MEMBER = "member"
    ORGANISATION = "organisation"
    BROKER = "broker"


_SIGNING: Final = "ed25519"
_SEALING: Final = "x-wing"
_PARTS: Final = {
    KeyKind.MEMBER: (_SIGNING,),
    KeyKind.ORGANISATION: (_SEALING,),
    KeyKind.BROKER: (_SIGNING, _SEALING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """The readable part of a key file.

    Trust: not authenticated until the file is opened with its passphrase; good for showing and sharing one's own key.
    """

    kind: KeyKind
    owner_id: str
    signing: VerifyKey | None
    sealing: SealingPublicKey | None


def create_key_file(path: Path, *, kind: KeyKind, owner_id: str, passphrase: str) -> PublicKeys:
    """Make a fresh key of a kind and store it under a passphrase.

    Args:
        path: A file that does not exist yet; its folder is made (0700) where missing.
        kind: Which keys the file holds.
        owner_id: Id of the member or organisation.
        passphrase: At least `MIN_PASSPHRASE` characters.

    Raises:
        ConflictError: The file exists.
        InvalidInputError: The passphrase is too short.
        ConfigurationError: The file cannot be written.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise InvalidInputError("the passphrase is too short", hint=f"use at least {MIN_PASSPHRASE} characters")
    seeds = {part: os.urandom(SEED_BYTES) for part in _PARTS[kind]}
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    header = {
        "v": 1,
        "kind": str(kind),
        "owner_id": owner_id,
        "public": _public_texts(seeds),
        "kdf": _KDF,
        "salt": _b64(salt),
        "cipher": _CIPHER,
        "nonce": _b64(nonce),
    }
    secret = canonical_bytes({part: _b64(seed) for part, seed in seeds.items()})
    sealed = AESGCM(_stretch(passphrase, salt)).encrypt(nonce, secret, canonical_bytes(header))
    document = {**header, "secret": _b64(sealed)}
    write_new_private_file(path, canonical_bytes({**document, "check": digest(canonical_bytes(document))}))
    return read_public_keys(path)


def read_public_keys(path: Path) -> PublicKeys:
    """Read who a key file belongs to and its public keys, without the passphrase.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is no key file, or it is damaged.
    """
    return _public_keys(_read(path))


def open_signing_key(path: Path, passphrase: str) -> SigningKey:
    """Open a member's key file.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is damaged or holds a key of another kind.
        ConfigurationError: Others may read the file.
        TrustError: The passphrase is wrong.
    """
    return SigningKey(_open(path, passphrase, KeyKind.MEMBER)[_SIGNING])


def open_organisation_key(path: Path, passphrase: str) -> SealingKey:
    """Open an organisation's key file. Raises as `open_signing_key`."""
    return SealingKey(_open(path, passphrase, KeyKind.ORGANISATION)[_SEALING])


def open_broker_keys(path: Path, passphrase: str) -> BrokerKeys:
    """Open a broker's key file. Raises as `open_signing_key`."""
    seeds = _open(path, passphrase, KeyKind.BROKER)
    return BrokerKeys(sealing=SealingKey(seeds[_SEALING]), signing=SigningKey(seeds[_SIGNING]))


def write_new_private_file(path: Path, data: bytes) -> None:
    """Write a file (0600) that must not exist; it appears whole or not at all.

    Raises:
        ConflictError: The file exists.
        ConfigurationError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike rename, never replaces
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise ConflictError(
            f"{path.name} exists already", hint="keys are never overwritten; move the old file away first"
        ) from None
    except OSError as error:
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name} cannot be written: {os.strerror(error.errno or errno.EIO)}",
        hint="check the folder and the free space",
    )


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _public_texts(seeds: dict[str, bytes]) -> dict[str, str]:
    makers = {_SIGNING: lambda seed: SigningKey(seed).public.text, _SEALING: lambda seed: SealingKey(seed).public.text}
    return {part: makers[part](seed) for part, seed in seeds.items()}


def _stretch(passphrase: str, salt: bytes) -> bytes:
    typed = unicodedata.normalize("NFC", passphrase).encode()
    return Scrypt(salt=salt, length=32, n=2**17, r=8, p=1).derive(typed)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no key file {path.name}", hint="make one with `opaque-jobs member create` or `opaque-jobs org create`"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path.name} cannot be read: {os.strerror(error.errno or errno.EIO)}", hint="check who owns it"
        ) from None
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInputError(f"{_WHAT} is too long", hint="was the right file given?")
    document = parse_canonical(data, fields=_FIELDS, what=_WHAT)
    body = {name: value for name, value in document.items() if name != "check"}
    if digest(canonical_bytes(body)) != document["check"]:
        raise InvalidInputError(f"{_WHAT} is damaged", hint="restore it from your copy")
    if document["v"] != 1 or document["kdf"] != _KDF or document["cipher"] != _CIPHER:
        raise InvalidInputError(f"{_WHAT} is of another version or uses another cost", hint="was it made by this program?")
    return document


def _public_keys(document: dict[str, Any]) -> PublicKeys:
    if document["kind"] not in list(KeyKind) or not isinstance(document["owner_id"], str):
        raise InvalidInputError(f"{_WHAT} is of an unknown kind", hint="was it made by this program?")
    kind = KeyKind(document["kind"])
    public = require_fields(document["public"], _PARTS[kind], what=f"{_WHAT}'s public part")
    return PublicKeys(
        kind=kind,
        owner_id=document["owner_id"],
        signing=VerifyKey.parse(public[_SIGNING]) if _SIGNING in public else None,
        sealing=SealingPublicKey.parse(public[_SEALING]) if _SEALING in public else None,
    )


def _open(path: Path, passphrase: str, kind: KeyKind) -> dict[str, bytes]:
    document = _read(path)
    public = _public_keys(document)
    if public.kind is not kind:
        raise InvalidInputError(f"{path.name} holds a {public.kind} key, not a {kind} key", hint="give the other file")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"others may read {path.name}", hint=f"run `chmod 600 {path.name}`")
    salt, nonce = decode_base64(document["salt"], what=_WHAT), decode_base64(document["nonce"], what=_WHAT)
    header = {name: value for name, value in document.items() if name not in {"secret", "check"}}
    try:
        plain = AESGCM(_stretch(passphrase, salt)).decrypt(
            nonce, decode_base64(document["secret"], what=_WHAT), canonical_bytes(header)
        )
    except (InvalidTag, ValueError):
        raise TrustError(f"the passphrase does not open {path.name}", hint="try again; there is no way around it") from None
    secret = parse_canonical(plain, fields=_PARTS[kind], what=_WHAT)
    seeds = {part: decode_base64(text, what=_WHAT) for part, text in secret.items()}
    if _public_texts(seeds) != document["public"]:
        raise TrustError(f"{path.name} has a public key that is not its own", hint="restore it from your copy")
    return seeds
