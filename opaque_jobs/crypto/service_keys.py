"""Signing keys of services that start without people: PKCS#8 PEM files of mode 0600 without passphrase.

Only for keys that open nothing: the simulated hardware's, and the one that signs checkpoints of logs.
"""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.crypto.keys import SigningKey, VerifyKey
from opaque_jobs.errors import ConfigurationError, NotFoundError

__all__ = ["create_service_key", "load_service_key"]


def create_service_key(path: Path) -> VerifyKey:
    """Make a new key.

    Raises:
        ConflictError: The file exists.
        ConfigurationError: It cannot be written.
    """
    key = SigningKey.generate()
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    write_new_private_file(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public


def load_service_key(path: Path) -> SigningKey:
    """Load a key.

    Raises:
        NotFoundError: There is none.
        ConfigurationError: Others may read it, or it is no Ed25519 key.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            shared = stat.S_IMODE(os.fstat(descriptor).st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
            data = file.read(4096)
    except FileNotFoundError:
        raise NotFoundError(f"there is no key {path.name}", hint="make it with 'opaque-jobs org create'") from None
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}", hint="check who owns it") from None
    if shared:
        raise ConfigurationError(f"others may read {path.name}", hint=f"run `chmod 600 {path.name}`")
    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigurationError(f"{path.name} is not an Ed25519 key", hint="move it away and make a new one")
    return SigningKey(private.private_bytes_raw())
