"""The Vault store: HashiCorp Vault's or OpenBao's transit engine signs with Ed25519 keys and encrypts what it cannot hold.

Version 1 of a fresh key is used and named in every call, so a rotation on the server changes nothing here unnoticed. The token's
policy needs `create` and `update` on `keys/NAME`, `sign/NAME`, `encrypt/NAME` and `decrypt/NAME`, and `read` on `keys/NAME`.

Trust: written against the documented HTTP API and tested with a simulator of it; no real server has been tried. The token goes
to the given address only: no redirect, no proxy and no `.netrc` of the environment is followed, and plain HTTP is for loopback.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import hvac
import requests
from hvac import exceptions as refused

from opaque_jobs.crypto.key_stores.base import Held
from opaque_jobs.crypto.keys import VerifyKey, decode_base64, encode_base64
from opaque_jobs.errors import ConfigurationError, DeniedError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError

__all__ = ["VaultStore"]

_ADDRESS: Final = "address"
_MOUNT: Final = "mount"
_CA_FILE: Final = "ca-file"
_DEFAULT_MOUNT: Final = "transit"
_SIGNING_FIELDS: Final = {_ADDRESS, _MOUNT, "key"}
_PROTECTED_FIELDS: Final = {*_SIGNING_FIELDS, "secret"}
_VERSION: Final = 1
_PREFIX: Final = f"vault:v{_VERSION}:"
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_TIMEOUT_S: Final = 20
_WHAT: Final = "the answer of the key server"


class VaultStore:
    """Keeps keys in a transit engine."""

    secret_name = "token"  # noqa: S105 - what it is called
    chosen = False
    required = (_ADDRESS,)
    optional = (_MOUNT, _CA_FILE)

    def protect(self, secret: str, plain: bytes, *, where: Mapping[str, str], label: str, bound_to: bytes) -> Held:
        """Encrypt with a fresh AES-256-GCM key of the engine."""
        place = {_MOUNT: _DEFAULT_MOUNT, **where}
        with _transit(place, secret) as transit:
            transit.create_key(name=label, key_type="aes256-gcm96", exportable=False, mount_point=place[_MOUNT])
            answer = transit.encrypt_data(
                name=label,
                plaintext=encode_base64(plain),
                associated_data=encode_base64(bound_to),
                key_version=_VERSION,
                mount_point=place[_MOUNT],
            )
            sealed = _text(answer, "ciphertext")
        if not sealed.startswith(_PREFIX):
            raise _odd()
        return {**place, "key": label, "secret": sealed}

    def reveal(self, secret: str, held: Held, *, bound_to: bytes) -> bytes:
        """Decrypt with the engine's key."""
        _check_fields(held, _PROTECTED_FIELDS)
        with _transit(held, secret) as transit:
            try:
                answer = transit.decrypt_data(
                    name=held["key"],
                    ciphertext=held["secret"],
                    associated_data=encode_base64(bound_to),
                    mount_point=held[_MOUNT],
                )
            except refused.InvalidRequest:
                raise TrustError(
                    "the key server does not open the key file: it was changed, or its key is not there",
                    hint="restore the key file from your copy",
                ) from None
            return decode_base64(_text(answer, "plaintext"), what=_WHAT)

    def make_signing_key(self, secret: str, *, where: Mapping[str, str], label: str) -> tuple[VerifyKey, Held]:
        """Make an Ed25519 key in the engine."""
        place = {_MOUNT: _DEFAULT_MOUNT, **where}
        with _transit(place, secret) as transit:
            transit.create_key(name=label, key_type="ed25519", exportable=False, mount_point=place[_MOUNT])
        held = {**place, "key": label}
        return _public(held, secret), held

    def signer(self, secret: str, held: Held, *, public: VerifyKey) -> "_TransitSigner":
        """Give what signs in the engine."""
        _check_fields(held, _SIGNING_FIELDS)
        if _public(held, secret) != public:
            raise TrustError("the key server holds another key under this name", hint="restore the key file from your copy")
        return _TransitSigner(held=dict(held), public=public, token=secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TransitSigner:
    """Signs in a transit engine."""

    held: Held
    public: VerifyKey
    token: str = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519; 64 bytes."""
        with _transit(self.held, self.token) as transit:
            answer = transit.sign_data(
                name=self.held["key"],
                hash_input=encode_base64(data),
                key_version=_VERSION,
                mount_point=self.held[_MOUNT],
            )
            text = _text(answer, "signature")
        if not text.startswith(_PREFIX):
            raise _odd()
        signature = decode_base64(text.removeprefix(_PREFIX), what=_WHAT)
        self.public.verify(signature, data)
        return signature


def _public(held: Held, token: str) -> VerifyKey:
    with _transit(held, token) as transit:
        answer = transit.read_key(name=held["key"], mount_point=held[_MOUNT])
    try:
        return VerifyKey(base64.b64decode(answer["data"]["keys"][str(_VERSION)]["public_key"], validate=True))
    except (KeyError, TypeError, ValueError):
        raise _odd() from None


@contextmanager
def _transit(where: Mapping[str, str], token: str) -> Iterator[Any]:
    _check_address(where[_ADDRESS])
    with requests.Session() as session:
        session.trust_env = False
        try:
            client = hvac.Client(
                url=where[_ADDRESS],
                token=token,
                session=session,
                verify=where.get(_CA_FILE, True),
                allow_redirects=False,
                timeout=_TIMEOUT_S,
            )
            yield client.secrets.transit
        except OpaqueJobsError:
            raise
        except (refused.Forbidden, refused.Unauthorized):
            raise DeniedError(
                "the key server does not allow this", hint="has the token expired? does its policy allow the key?"
            ) from None
        except refused.InvalidPath:
            raise NotFoundError(
                "the key server does not hold this key", hint="check address and mount; was it deleted?"
            ) from None
        except refused.InvalidRequest:
            raise ConfigurationError("the key server refuses the request", hint="ask who runs it: was the key changed?") from None
        except refused.VaultDown:
            raise ConfigurationError("the key server is sealed or in maintenance", hint="ask who runs it to unseal it") from None
        except (refused.VaultError, requests.RequestException, OSError, ValueError, UnicodeError):
            # Their texts hold addresses and what the server said.
            raise ConfigurationError("the key server does not answer as it should", hint="check its address") from None


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        sound = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        sound = sound and bool(parts.hostname) and not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        sound = False
    if not sound:
        raise InvalidInputError(
            "the key server's address cannot be used", hint="write https://host:8200; plain http is for loopback only"
        )


def _check_fields(held: Held, fields: set[str]) -> None:
    if set(held) - {_CA_FILE} != fields:
        raise InvalidInputError("the key file does not say where its key is", hint="was it made by this program?")


def _text(answer: Any, name: str) -> str:
    try:
        found = answer["data"][name]
    except (KeyError, TypeError):
        raise _odd() from None
    if not isinstance(found, str):
        raise _odd()
    return found


def _odd() -> TrustError:
    return TrustError("the key server gave an answer of another form", hint="is it Vault or OpenBao, and the right mount?")
