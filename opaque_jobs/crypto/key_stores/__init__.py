"""Where private keys are kept: under a passphrase in their file, on a PKCS#11 token, or with Vault's transit engine.

A key file says which store keeps its key, so every command that signs or opens works with each. Platform teams add a store by
an entry point of the group `opaque_jobs.key_stores` and test it with `check_key_store`.
"""

from opaque_jobs.crypto.key_stores.base import Held, KeyStore, SigningKeyStore
from opaque_jobs.crypto.key_stores.conformance import check_key_store
from opaque_jobs.crypto.key_stores.registry import BUILT_IN, ENTRY_POINTS, FILE, checked_settings, key_store

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "FILE",
    "Held",
    "KeyStore",
    "SigningKeyStore",
    "check_key_store",
    "checked_settings",
    "key_store",
]
