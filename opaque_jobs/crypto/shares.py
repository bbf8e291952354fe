"""An organisation's keys in n shares, of which any k give them back and fewer tell nothing.

A fresh secret is shared (Shamir's scheme over GF(2^128), `pycryptodome`, each half of the 32 bytes by itself); the keys are
encrypted under it, and that ciphertext stands in every share. So a wrong, foreign or missing share gives no key at all: the
ciphertext does not open. Each share's value is encrypted under its officer's passphrase, bound to all that the share says.

Trust: a share proves nothing about who made it. Whoever has k shares and their passphrases has the keys.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opaque_jobs.crypto.key_stores import FILE, key_store
from opaque_jobs.crypto.keys import BrokerKeys, SealingKey, SigningKey, decode_base64, encode_base64
from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_canonical
from opaque_jobs.domain.ids import check_name
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "MAX_SHARES",
    "MIN_THRESHOLD",
    "OrganisationKeys",
    "Share",
    "join_secret",
    "make_shares",
    "parse_share",
    "recover",
    "split_secret",
]

MIN_THRESHOLD: Final = 2
MAX_SHARES: Final = 32
_HALF: Final = 16
_NONCE: Final = bytes(12)  # the secret is fresh, and encrypts once
_KIND: Final = "organisation-share"
_SET_FIELDS: Final = ("v", "kind", "organisation_id", "name", "key_ids", "set_id", "threshold", "shares")
_FIELDS: Final = (*_SET_FIELDS, "package", "number", "held", "check")
_WHAT: Final = "the share"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationKeys:
    """What shares give back.

    Args:
        organisation_id: Whose.
        name: The organisation's name.
        sealing: Opens its results.
        broker: Its broker's keys, which open its deposits; None if they were not shared.
    """

    organisation_id: str
    name: str
    sealing: SealingKey
    broker: BrokerKeys | None

    @property
    def key_ids(self) -> list[str]:
        """Ids of the keys."""
        broker = [self.broker.sealing.public.key_id, self.broker.signing.public.key_id] if self.broker else []
        return [self.sealing.public.key_id, *broker]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share as its file holds it.

    Trust: not authenticated until it is opened with its passphrase.
    """

    document: Mapping[str, Any] = field(repr=False)

    @property
    def number(self) -> int:
        """1 for the first."""
        return int(self.document["number"])

    @property
    def organisation(self) -> str:
        """The organisation's name."""
        return str(self.document["name"])

    @property
    def threshold(self) -> int:
        """How many are needed."""
        return int(self.document["threshold"])

    @property
    def common(self) -> bytes:
        """What all shares of a set have in common."""
        return canonical_bytes({name: self.document[name] for name in (*_SET_FIELDS, "package")})

    def to_bytes(self) -> bytes:
        """Give the file's content."""
        return canonical_bytes(dict(self.document))


def split_secret(secret: bytes, *, threshold: int, count: int) -> dict[int, bytes]:
    """Split 32 bytes into numbered values, of which any `threshold` give them back."""
    halves = [dict(Shamir.split(threshold, count, secret[start : start + _HALF])) for start in (0, _HALF)]
    return {number: halves[0][number] + halves[1][number] for number in sorted(halves[0])}


def join_secret(values: Mapping[int, bytes]) -> bytes:
    """Give 32 bytes: those that were split if the values are enough and right, else others. The caller must be able to tell."""
    return b"".join(
        Shamir.combine([(number, value[start : start + _HALF]) for number, value in values.items()]) for start in (0, _HALF)
    )


def make_shares(keys: OrganisationKeys, *, threshold: int, passphrases: Sequence[str]) -> tuple[Share, ...]:
    """Make one share for each passphrase.

    Args:
        keys: What to share.
        threshold: How many shares give it back.
        passphrases: One for each officer, all different.

    Raises:
        InvalidInputError: The numbers are not 2 <= threshold <= shares <= 32, or a passphrase is too short or there twice.
    """
    count = len(passphrases)
    if not MIN_THRESHOLD <= threshold <= count <= MAX_SHARES:
        raise InvalidInputError(
            "the numbers of shares are not possible", hint=f"at least {MIN_THRESHOLD} are needed, of at most {MAX_SHARES}"
        )
    if len(set(passphrases)) != count:
        raise InvalidInputError("two shares would have the same passphrase", hint="each officer chooses one of their own")
    secret = os.urandom(2 * _HALF)
    common = {
        "v": 1,
        "kind": _KIND,
        "organisation_id": keys.organisation_id,
        "name": keys.name,
        "key_ids": keys.key_ids,
        "set_id": os.urandom(16).hex(),
        "threshold": threshold,
        "shares": count,
    }
    package = AESGCM(_package_key(secret)).encrypt(_NONCE, _packed(keys), canonical_bytes(common))
    values = split_secret(secret, threshold=threshold, count=count)
    return tuple(
        _share({**common, "package": encode_base64(package), "number": number}, value, passphrase)
        for (number, value), passphrase in zip(values.items(), passphrases, strict=True)
    )


def _share(header: dict[str, Any], value: bytes, passphrase: str) -> Share:
    held = key_store(FILE).protect(passphrase, value, where={}, label="", bound_to=canonical_bytes(header))
    document = {**header, "held": dict(held)}
    return Share(document={**document, "check": digest(canonical_bytes(document))})


def parse_share(data: bytes) -> Share:
    """Parse an untrusted share file.

    Raises:
        InvalidInputError: It is none, or it is damaged.
    """
    document = parse_canonical(data, fields=_FIELDS, what=_WHAT)
    body = {name: value for name, value in document.items() if name != "check"}
    if digest(canonical_bytes(body)) != document["check"]:
        raise InvalidInputError(f"{_WHAT} is damaged", hint="use the officer's copy")
    texts = [document[name] for name in ("organisation_id", "name", "set_id", "package")]
    numbers = [document[name] for name in ("threshold", "shares", "number")]
    held, key_ids = document["held"], document["key_ids"]
    sound = (
        (document["v"], document["kind"]) == (1, _KIND)
        and all(isinstance(each, str) for each in texts)
        and all(type(each) is int for each in numbers)
        and isinstance(held, dict)
        and all(isinstance(each, str) for each in held.values())
        and isinstance(key_ids, list)
    )
    if not sound or not 1 <= document["number"] <= document["shares"] or not 1 <= document["threshold"] <= document["shares"]:
        raise InvalidInputError(f"{_WHAT} is of another kind or version", hint="was it made by 'opaque-jobs org shares make'?")
    check_name(document["name"], what="organisation")
    return Share(document=document)


def recover(shares: Sequence[tuple[Share, str]]) -> OrganisationKeys:
    """Put shares together.

    Args:
        shares: Each with its passphrase.

    Raises:
        InvalidInputError: They are too few, one is there twice, or they are of different sets.
        TrustError: A passphrase is wrong, a share was changed, or what they give is not the keys that they name.
    """
    # 1. Different shares of one set, and enough of them.
    sets, numbers = {share.common for share, _ in shares}, [share.number for share, _ in shares]
    if len(sets) != 1:
        raise InvalidInputError("the shares are not all of one set", hint="shares of different days do not go together")
    if len(set(numbers)) != len(numbers):
        raise InvalidInputError("a share is there twice", hint="give different ones")
    threshold = shares[0][0].threshold
    if len(shares) < threshold:
        raise InvalidInputError("these are too few shares", hint=f"{threshold} are needed", given=len(shares), needed=threshold)
    # 2. Each opens with its officer's passphrase, which also authenticates all that it says.
    values = {share.number: _value(share, passphrase) for share, passphrase in shares}
    # 3. Together they open the package, or there is no key.
    document = shares[0][0].document
    common = {name: document[name] for name in _SET_FIELDS}
    try:
        plain = AESGCM(_package_key(join_secret(values))).decrypt(
            _NONCE, decode_base64(document["package"], what=_WHAT), canonical_bytes(common)
        )
    except InvalidTag:
        raise TrustError("the shares do not fit together", hint="was one of them changed?") from None
    # 4. The keys are those that the shares name.
    keys = _unpacked(plain, organisation_id=document["organisation_id"], name=document["name"])
    if keys.key_ids != document["key_ids"]:
        raise TrustError("the shares hold other keys than they name", hint="do not use them")
    return keys


def _value(share: Share, passphrase: str) -> bytes:
    header = {name: value for name, value in share.document.items() if name not in {"held", "check"}}
    try:
        value = key_store(FILE).reveal(passphrase, share.document["held"], bound_to=canonical_bytes(header))
    except TrustError:
        raise TrustError(
            f"the passphrase does not open share {share.number}", hint="each share has its officer's own", share=share.number
        ) from None
    if len(value) != 2 * _HALF:
        raise TrustError(f"share {share.number} has another length", hint="use the officer's copy", share=share.number)
    return value


def _package_key(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"opaque-jobs organisation share").derive(secret)


def _packed(keys: OrganisationKeys) -> bytes:
    broker = keys.broker and {
        "sealing": encode_base64(keys.broker.sealing.seed),
        "signing": encode_base64(keys.broker.signing_seed),
    }
    return canonical_bytes({"sealing": encode_base64(keys.sealing.seed), "broker": broker})


def _unpacked(plain: bytes, *, organisation_id: str, name: str) -> OrganisationKeys:
    document = parse_canonical(plain, fields=("sealing", "broker"), what=_WHAT)
    broker = document["broker"]
    return OrganisationKeys(
        organisation_id=organisation_id,
        name=name,
        sealing=SealingKey(decode_base64(document["sealing"], what=_WHAT)),
        broker=broker
        and BrokerKeys(
            sealing=SealingKey(decode_base64(broker["sealing"], what=_WHAT)),
            signing=SigningKey(decode_base64(broker["signing"], what=_WHAT)),
        ),
    )
