"""The PKCS#11 store: Ed25519 keys on a token, and an AES-256 key there that protects what no token can hold.

Both are made on the token as sensitive and not extractable. Each use opens a session with the PIN and closes it again. Tried
with SoftHSM; other tokens need the mechanisms CKM_EDDSA and CKM_AES_GCM. Whether a token is logged in to is one state for the
whole process (PKCS #11 v3.0, section 5.6), which closing a session ends: a process has one session at a time.

Trust: the module is code that this process loads, so its file must be one that only root or oneself can change.
"""

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    NoSuchKey,
    NoSuchToken,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
)
from pkcs11.util.ec import encode_named_curve_parameters

from opaque_jobs.crypto.key_stores.base import Held
from opaque_jobs.crypto.keys import VerifyKey, decode_base64, encode_base64
from opaque_jobs.errors import ConfigurationError, DeniedError, InvalidInputError, NotFoundError, TrustError

__all__ = ["Pkcs11Store"]

_ED25519_OID: Final = "1.3.101.112"
_PLACE: Final = ("module", "token")
_SIGNING_FIELDS: Final = {*_PLACE, "key"}
_PROTECTED_FIELDS: Final = {*_SIGNING_FIELDS, "nonce", "secret"}
_NONCE_BYTES: Final = 12
_WHAT: Final = "the key file"
_one_session: Final = threading.Lock()


class Pkcs11Store:
    """Keeps keys on a token."""

    secret_name = "PIN"  # noqa: S105 - what it is called
    chosen = False
    required = _PLACE
    optional = ()

    def protect(self, secret: str, plain: bytes, *, where: Mapping[str, str], label: str, bound_to: bytes) -> Held:
        """Encrypt with a fresh AES key on the token."""
        nonce = os.urandom(_NONCE_BYTES)
        with _session(where, secret, rw=True) as session:
            key = session.generate_key(
                KeyType.AES, 256, store=True, label=label, template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
            )
            sealed = key.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce=nonce, aad=bound_to))
        return {**where, "key": label, "nonce": encode_base64(nonce), "secret": encode_base64(sealed)}

    def reveal(self, secret: str, held: Held, *, bound_to: bytes) -> bytes:
        """Decrypt with the token's AES key."""
        _check_fields(held, _PROTECTED_FIELDS)
        nonce, sealed = (decode_base64(held[name], what=_WHAT) for name in ("nonce", "secret"))
        with _session(held, secret) as session:
            key = session.get_key(object_class=ObjectClass.SECRET_KEY, key_type=KeyType.AES, label=held["key"])
            try:
                plain = key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce=nonce, aad=bound_to))
            except PKCS11Error:
                raise TrustError(
                    "the token does not open the key file: it was changed", hint="restore it from your copy"
                ) from None
        return bytes(plain)

    def make_signing_key(self, secret: str, *, where: Mapping[str, str], label: str) -> tuple[VerifyKey, Held]:
        """Make an Ed25519 key pair on the token."""
        with _session(where, secret, rw=True) as session:
            curve = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: encode_named_curve_parameters(_ED25519_OID)}, local=True
            )
            public, _ = curve.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=label,
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
            found = _verify_key(public)
        return found, {**where, "key": label}

    def signer(self, secret: str, held: Held, *, public: VerifyKey) -> "_TokenSigner":
        """Give what signs on the token."""
        _check_fields(held, _SIGNING_FIELDS)
        with _session(held, secret) as session:
            there = _verify_key(session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=held["key"]))
        if there != public:
            raise TrustError("the token holds another key under this name", hint="restore the key file from your copy")
        return _TokenSigner(held=dict(held), public=public, pin=secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenSigner:
    """Signs on a token, in a session of its own each time."""

    held: Held
    public: VerifyKey
    pin: str = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519; 64 bytes."""
        with _session(self.held, self.pin) as session:
            key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=self.held["key"])
            signature = bytes(key.sign(data, mechanism=Mechanism.EDDSA))
        self.public.verify(signature, data)
        return signature


@contextmanager
def _session(where: Mapping[str, str], pin: str, *, rw: bool = False) -> Iterator[Any]:
    _check_module(where["module"])
    try:
        with _one_session:
            token = pkcs11.lib(where["module"]).get_token(token_label=where["token"])
            with token.open(rw=rw, user_pin=pin) as session:
                yield session
    except (PinIncorrect, PinInvalid, PinLenRange):
        raise TrustError("the PIN does not open the token", hint="try again; tokens lock after some wrong PINs") from None
    except PinLocked:
        raise DeniedError("the token's PIN is locked", hint="the token's security officer unlocks it") from None
    except NoSuchToken:
        raise NotFoundError("there is no token of this label", hint="is it plugged in? see what the module lists") from None
    except NoSuchKey:
        raise NotFoundError("the token does not hold this key", hint="was the token initialised anew?") from None
    except PKCS11Error:
        # Its text may hold paths and names of the token's maker.
        raise ConfigurationError(
            "the token refuses to work", hint="does it know Ed25519 (CKM_EDDSA) and AES-GCM, and is there room on it?"
        ) from None


def _check_module(text: str) -> None:
    path = Path(text)
    try:
        sound = path.is_absolute() and all(_only_ours(each.stat()) for each in (path.resolve(), path.resolve().parent))
    except OSError:
        sound = False
    if not sound:
        raise ConfigurationError(
            "the PKCS#11 module cannot be used",
            hint="give the full path of a library that nobody but root or you can change, for example libsofthsm2.so",
        )


def _only_ours(found: os.stat_result) -> bool:
    return found.st_uid in {0, os.geteuid()} and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _check_fields(held: Held, fields: set[str]) -> None:
    if set(held) != fields:
        raise InvalidInputError(f"{_WHAT} does not say where on the token its key is", hint="was it made by this program?")


def _verify_key(public: Any) -> VerifyKey:
    # The point is a DER OCTET STRING of 32 bytes.
    point = bytes(public[Attribute.EC_POINT])
    return VerifyKey(point[2:] if point[:2] == b"\x04\x20" else point)
