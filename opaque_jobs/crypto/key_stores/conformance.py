"""What makers of a key store run on it: `check_key_store(store, secret, where)` in a test of theirs.

Everything that the product relies on is tried against the real place, and left there: use a place for tests.
"""

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from opaque_jobs.crypto.key_stores.base import KeyStore, SigningKeyStore
from opaque_jobs.crypto.key_stores.registry import checked_settings
from opaque_jobs.crypto.keys import SEED_BYTES, SigningKey, encode_base64
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.errors import OpaqueJobsError, TrustError

__all__ = ["check_key_store"]

_LARGEST: Final = 4096


def check_key_store(store: KeyStore, *, secret: str, wrong_secret: str, where: Mapping[str, str]) -> None:
    """Check a store as its users will meet it.

    Args:
        store: The store.
        secret: Opens it.
        wrong_secret: Does not.
        where: Its settings.

    Raises:
        TrustError: It does not do what a key store must; the message says what.
        OpaqueJobsError: It refuses what it must do.
    """
    settings = checked_settings(store, where)
    for plain in (b"\x00", secrets.token_bytes(_LARGEST)):
        held = store.protect(secret, plain, where=settings, label=_label(), bound_to=b"one purpose")
        _demand(store.reveal(secret, held, bound_to=b"one purpose") == plain, "does not give back what it protected")
    _check_protection(store, secret, wrong_secret, settings)
    if isinstance(store, SigningKeyStore):
        _check_signing(store, secret, wrong_secret, settings)


def _check_protection(store: KeyStore, secret: str, wrong: str, where: Mapping[str, str]) -> None:
    plain = secrets.token_bytes(SEED_BYTES)
    held = store.protect(secret, plain, where=where, label=_label(), bound_to=b"one purpose")
    _check_held(held, secret, plain)
    _demand_refusal(lambda: store.reveal(secret, held, bound_to=b"other purpose"), "opens for another purpose", secret)
    _demand_refusal(lambda: store.reveal(wrong, held, bound_to=b"one purpose"), "opens with a wrong secret", wrong)
    for name, text in held.items():
        middle = len(text) // 2
        changed = {**held, name: text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]}
        _demand_refusal(partial(store.reveal, secret, changed, bound_to=b"one purpose"), "opens what was changed", secret)


def _check_signing(store: SigningKeyStore, secret: str, wrong: str, where: Mapping[str, str]) -> None:
    public, held = store.make_signing_key(secret, where=where, label=_label())
    other, _ = store.make_signing_key(secret, where=where, label=_label())
    _demand(public != other, "makes the same key twice")
    _check_held(held, secret, b"")
    signer = store.signer(secret, held, public=public)
    for data in (b"", b"statement", secrets.token_bytes(1 << 16)):
        public.verify(signer.sign(data), data)
    _demand(signer.public == public, "signs with another key")
    _demand(secret not in repr(signer), "shows its secret")
    stranger = SigningKey.generate().public
    _demand_refusal(lambda: store.signer(secret, held, public=stranger), "signs for a public key that is not its own", secret)
    _demand_refusal(lambda: store.signer(wrong, held, public=public).sign(b"x"), "signs with a wrong secret", wrong)


def _check_held(held: Mapping[str, str], secret: str, plain: bytes) -> None:
    kept = canonical_bytes(dict(held))
    _demand(all(isinstance(text, str) for text in held.values()), "keeps something that is no text")
    _demand(secret.encode() not in kept and (not plain or not _holds(kept, plain)), "keeps a secret in the key file")


def _holds(kept: bytes, plain: bytes) -> bool:
    return plain in kept or plain.hex().encode() in kept.lower() or encode_base64(plain).encode() in kept


def _demand_refusal(action: Callable[[], object], problem: str, secret: str) -> None:
    try:
        action()
    except OpaqueJobsError as error:
        _demand(secret not in f"{error.message}{error.hint}{error.facts}", "tells its secret in an error")
        return
    _demand(False, problem)


def _demand(holds: bool, problem: str) -> None:
    if not holds:
        raise TrustError(f"the key store is not sound: it {problem}", hint="do not use it")


def _label() -> str:
    return f"conformance-{secrets.token_hex(8)}"
