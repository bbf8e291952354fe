"""Key files: one JSON document per key. What it is of stands there readable; where the secret is, its key store knows.

The file store keeps the secret in the file, under a passphrase; other stores keep a token's or a key server's reference. A
checksum tells a damaged file from a wrong passphrase, and the readable part is bound to the secret. Files have mode 0600, appear
whole or not at all, and are never overwritten.
"""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from opaque_jobs.crypto.key_stores import FILE, Held, KeyStore, SigningKeyStore, checked_settings, key_store
from opaque_jobs.crypto.keys import (
    SEED_BYTES,
    BrokerKeys,
    SealingKey,
    SealingPublicKey,
    Signer,
    SigningKey,
    VerifyKey,
    decode_base64,
    encode_base64,
)
from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_canonical, require_fields
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, TrustError

__all__ = [
    "IN_FILE",
    "KeyKind",
    "Place",
    "PublicKeys",
    "create_key_file",
    "key_secret_name",
    "open_broker_keys",
    "open_organisation_key",
    "open_signing_key",
    "read_public_keys",
    "save_key_file",
    "write_new_private_file",
]

_VERSION: Final = 3
_HEADER: Final = ("v", "kind", "owner_id", "public", "store")
_FIELDS: Final = (*_HEADER, "held", "check")
_MAX_FILE_BYTES: Final = 64 * 1024
_WHAT: Final = "the key file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a new key is to be kept.

    Args:
        store: Name of the key store.
        where: Its settings; nothing secret.
    """

    store: str
    where: Mapping[str, str]


IN_FILE: Final = Place(store=FILE, where={})
"""In the key file, under a passphrase."""


class KeyKind(StrEnum):
    """Whose key a file holds."""

    MEMBER = "member"
    ORGANISATION = "organisation"
    BROKER = "broker"


_SIGNING: Final = "ed25519"
_SEALING: Final = "x-wing"
_INSIDE: Final = "inside"  # where the signing key is that the store signs with
_PROTECTED: Final = "protected"  # the other parts, as bytes that the store protects
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
    store: str


def create_key_file(path: Path, *, kind: KeyKind, owner_id: str, passphrase: str, place: Place = IN_FILE) -> PublicKeys:
    """Make a fresh key of a kind and keep it in a key store.

    Args:
        path: A file that does not exist yet; its folder is made (0700) where missing.
        kind: Which keys the file holds.
        owner_id: Id of the member or organisation.
        passphrase: What opens the store: a new passphrase for the file store, the PIN or token of others.
        place: The store.

    Raises:
        ConflictError: The file exists.
        InvalidInputError: The passphrase is too short, or the store's settings are not those that it knows.
        ConfigurationError: The file cannot be written, or the store not be used.
        TrustError: The secret does not open the store.
    """
    if path.exists():
        raise _exists(path)
    store = key_store(place.store)
    where = checked_settings(store, place.where)
    inside = None
    if _SIGNING in _PARTS[kind] and isinstance(store, SigningKeyStore):
        inside = store.make_signing_key(passphrase, where=where, label=_label(owner_id))
    seeds = {part: os.urandom(SEED_BYTES) for part in _protected_parts(kind, store)}
    return _keep(path, store, kind=kind, owner_id=owner_id, secret=passphrase, place=place, seeds=seeds, inside=inside)


def save_key_file(path: Path, keys: SealingKey | BrokerKeys, *, owner_id: str, passphrase: str) -> PublicKeys:
    """Keep an organisation's or broker's keys that are there already, in a new file under a passphrase.

    Raises:
        ConflictError: The file exists.
        InvalidInputError: The passphrase is too short.
        ConfigurationError: The file cannot be written.
    """
    if isinstance(keys, BrokerKeys):
        kind, seeds = KeyKind.BROKER, {_SIGNING: keys.signing_seed, _SEALING: keys.sealing.seed}
    else:
        kind, seeds = KeyKind.ORGANISATION, {_SEALING: keys.seed}
    return _keep(path, key_store(FILE), kind=kind, owner_id=owner_id, secret=passphrase, place=IN_FILE, seeds=seeds)


def _keep(
    path: Path,
    store: KeyStore,
    *,
    kind: KeyKind,
    owner_id: str,
    secret: str,
    place: Place,
    seeds: dict[str, bytes],
    inside: tuple[VerifyKey, Held] | None = None,
) -> PublicKeys:
    """Protect the seeds, and write them down beside where the signing key is that the store has made."""
    held: dict[str, Held] = {}
    public = _public_texts(seeds)
    if inside is not None:
        public[_SIGNING], held[_INSIDE] = inside[0].text, inside[1]
    header = _header(kind, owner_id, public, place.store)
    if seeds:
        plain = canonical_bytes({part: encode_base64(seed) for part, seed in seeds.items()})
        where, bound_to = checked_settings(store, place.where), canonical_bytes(header)
        held[_PROTECTED] = store.protect(secret, plain, where=where, label=_label(owner_id), bound_to=bound_to)
    return _write(path, header, held)


def _protected_parts(kind: KeyKind, store: KeyStore) -> tuple[str, ...]:
    """Return the parts that are kept as protected bytes: all that the store does not sign with."""
    return tuple(part for part in _PARTS[kind] if part != _SIGNING or not isinstance(store, SigningKeyStore))


def _header(kind: KeyKind, owner_id: str, public: dict[str, str], store: str) -> dict[str, Any]:
    return {"v": _VERSION, "kind": str(kind), "owner_id": owner_id, "public": public, "store": store}


def _label(owner_id: str) -> str:
    return f"opaque-jobs-{owner_id}-{os.urandom(4).hex()}"


def _write(path: Path, header: dict[str, Any], held: Mapping[str, Held]) -> PublicKeys:
    document = {**header, "held": {part: dict(each) for part, each in held.items()}}
    write_new_private_file(path, canonical_bytes({**document, "check": digest(canonical_bytes(document))}))
    return read_public_keys(path)


def read_public_keys(path: Path) -> PublicKeys:
    """Read who a key file belongs to and its public keys, without the passphrase.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is no key file, or it is damaged.
    """
    return _public_keys(_read(path))


def key_secret_name(path: Path) -> str:
    """Say what opens a key file: a passphrase, a PIN, a token. Raises as `read_public_keys`."""
    return key_store(read_public_keys(path).store).secret_name


def open_signing_key(path: Path, passphrase: str) -> Signer:
    """Open a member's key: one in the file, or one that a key store signs with.

    Raises:
        NotFoundError: There is no such file, or the store does not hold the key.
        InvalidInputError: It is damaged or holds a key of another kind.
        ConfigurationError: Others may read the file, or the store cannot be used.
        DeniedError: The store does not allow it.
        TrustError: The passphrase is wrong.
    """
    return _open(path, passphrase, KeyKind.MEMBER).signing()


def open_organisation_key(path: Path, passphrase: str) -> SealingKey:
    """Open an organisation's key file. Raises as `open_signing_key`."""
    return _open(path, passphrase, KeyKind.ORGANISATION).sealing()


def open_broker_keys(path: Path, passphrase: str) -> BrokerKeys:
    """Open a broker's key file. Its signing key is one in the file, or one that a key store signs with.

    Raises as `open_signing_key`.
    """
    opened = _open(path, passphrase, KeyKind.BROKER)
    return BrokerKeys(sealing=opened.sealing(), signing=opened.signing())


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
        raise _exists(path) from None
    except OSError as error:
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name} cannot be written: {os.strerror(error.errno or errno.EIO)}",
        hint="check the folder and the free space",
    )


def _exists(path: Path) -> ConflictError:
    return ConflictError(f"{path.name} exists already", hint="keys are never overwritten; move the old file away first")


def _public_texts(seeds: dict[str, bytes]) -> dict[str, str]:
    makers = {_SIGNING: lambda seed: SigningKey(seed).public.text, _SEALING: lambda seed: SealingKey(seed).public.text}
    return {part: makers[part](seed) for part, seed in seeds.items()}


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
    held = document["held"]
    if document["v"] != _VERSION or not isinstance(held, dict) or not all(_is_held(each) for each in held.values()):
        raise InvalidInputError(f"{_WHAT} is of another version", hint="was it made by this program?")
    return document


def _is_held(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(text, str) for text in found.values())


def _public_keys(document: dict[str, Any]) -> PublicKeys:
    named = (document["owner_id"], document["store"])
    if document["kind"] not in list(KeyKind) or not all(isinstance(each, str) for each in named):
        raise InvalidInputError(f"{_WHAT} is of an unknown kind", hint="was it made by this program?")
    kind = KeyKind(document["kind"])
    public = require_fields(document["public"], _PARTS[kind], what=f"{_WHAT}'s public part")
    return PublicKeys(
        kind=kind,
        owner_id=document["owner_id"],
        signing=VerifyKey.parse(public[_SIGNING]) if _SIGNING in public else None,
        sealing=SealingPublicKey.parse(public[_SEALING]) if _SEALING in public else None,
        store=document["store"],
    )


def _read_to_open(path: Path, kind: KeyKind) -> tuple[dict[str, Any], PublicKeys]:
    document = _read(path)
    public = _public_keys(document)
    if public.kind is not kind:
        raise InvalidInputError(f"{path.name} holds a {public.kind} key, not a {kind} key", hint="give the other file")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"others may read {path.name}", hint=f"run `chmod 600 {path.name}`")
    return document, public


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """The parts of an opened key file: seeds, and what signs inside the store."""

    seeds: Mapping[str, bytes] = field(repr=False)
    signer: Signer | None

    def signing(self) -> Signer:
        return self.signer or SigningKey(self.seeds[_SIGNING])

    def sealing(self) -> SealingKey:
        return SealingKey(self.seeds[_SEALING])


def _open(path: Path, secret: str, kind: KeyKind) -> _Opened:
    document, public = _read_to_open(path, kind)
    store = key_store(public.store)
    parts, held = _protected_parts(kind, store), document["held"]
    inside = _SIGNING in _PARTS[kind] and _SIGNING not in parts
    if set(held) != {*([_PROTECTED] if parts else []), *([_INSIDE] if inside else [])}:
        raise InvalidInputError(f"{_WHAT} does not say where each of its keys is", hint="was it made by this program?")
    seeds = _reveal(path, document, store, secret, parts) if parts else {}
    signer = None
    if inside and isinstance(store, SigningKeyStore) and public.signing is not None:
        signer = store.signer(secret, held[_INSIDE], public=public.signing)
    return _Opened(seeds=seeds, signer=signer)


def _reveal(path: Path, document: dict[str, Any], store: KeyStore, secret: str, parts: tuple[str, ...]) -> dict[str, bytes]:
    header = {name: document[name] for name in _HEADER}
    try:
        plain = store.reveal(secret, document["held"][_PROTECTED], bound_to=canonical_bytes(header))
    except TrustError as error:  # a store knows no file names
        raise TrustError(f"{path.name}: {error.message}", hint=error.hint) from None
    texts = parse_canonical(plain, fields=parts, what=_WHAT)
    seeds = {part: decode_base64(text, what=_WHAT) for part, text in texts.items()}
    if _public_texts(seeds) != {part: document["public"][part] for part in parts}:
        raise TrustError(f"{path.name} has a public key that is not its own", hint="restore it from your copy")
    return seeds
