"""Finding a key store by its name. What a store needs from outside is loaded only when a key of it is made or opened."""

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from opaque_jobs.crypto.key_stores.base import KeyStore
from opaque_jobs.errors import ConfigurationError, InvalidInputError

__all__ = ["BUILT_IN", "ENTRY_POINTS", "FILE", "checked_settings", "key_store"]

ENTRY_POINTS: Final = "opaque_jobs.key_stores"
FILE: Final = "file"
BUILT_IN: Final = {FILE: "PassphraseStore", "pkcs11": "Pkcs11Store", "vault": "VaultStore"}
_MODULES: Final = {FILE: "passphrase", "pkcs11": "pkcs11", "vault": "vault"}
_EXTRAS: Final = ("pkcs11", "vault")


def key_store(name: str) -> KeyStore:
    """Give the store of a name; an installed package cannot take the place of a built-in one.

    Raises:
        InvalidInputError: There is none.
        ConfigurationError: What it needs is not installed.
    """
    if name in BUILT_IN:
        try:
            module = importlib.import_module(f"opaque_jobs.crypto.key_stores.{_MODULES[name]}")
        except ImportError:
            raise _missing(name) from None
        store = getattr(module, BUILT_IN[name])()
    else:
        points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
        if not points:
            raise InvalidInputError("there is no such key store", hint=f"known here: {', '.join(_names())}")
        try:
            store = points[0].load()()
        except Exception:  # noqa: BLE001 - a foreign package may raise anything, with anything in its text
            store = None
    if not isinstance(store, KeyStore):
        raise ConfigurationError(
            f"the key store '{name}' cannot be loaded", hint="its package is not sound: test it with check_key_store"
        )
    return store


def checked_settings(store: KeyStore, given: Mapping[str, str]) -> dict[str, str]:
    """Check that all settings which a store requires, and none that it does not know, are given.

    Raises:
        InvalidInputError: They are not.
    """
    known = {*store.required, *store.optional}
    if not set(store.required) <= set(given) <= known or not all(given.values()):
        needed, more = ", ".join(store.required) or "none", ", ".join(store.optional) or "none"
        raise InvalidInputError(
            "the settings of the key store are not those that it knows", hint=f"needed: {needed}; possible: {more}"
        )
    return dict(given)


def _names() -> list[str]:
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))})


def _missing(name: str) -> ConfigurationError:
    hint = f"pip install 'opaque-jobs[{name}]'" if name in _EXTRAS else "install the program again"
    return ConfigurationError(f"what the key store '{name}' needs is not installed", hint=hint)
