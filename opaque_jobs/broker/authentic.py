"""What only the holder of a broker's keys can have written: keys for HMACs, one for each purpose, derived from its sealing key.

Source: HKDF (RFC 5869), HMAC (RFC 2104), both with SHA-256.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opaque_jobs.crypto.keys import BrokerKeys

__all__ = ["Authenticator", "Purpose"]


class Purpose(StrEnum):
    """What is authenticated; nothing of one purpose passes for another."""

    SETTINGS = "opaque-jobs broker settings"
    GUARD = "opaque-jobs broker rollback guard"
    MEMORY = "opaque-jobs broker memory"
    ROW = "opaque-jobs broker memory row"


@dataclass(frozen=True, slots=True, repr=False)
class Authenticator:
    """Makes and verifies MACs of one purpose."""

    _key: bytes

    @classmethod
    def of(cls, keys: BrokerKeys, purpose: Purpose) -> "Authenticator":
        """Derive a broker's."""
        # The sealing key is in memory wherever it is kept; a signing key may stay on its token.
        return cls(HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(keys.sealing.seed))

    def mac(self, data: bytes) -> bytes:
        """Return the MAC of data."""
        return hmac.digest(self._key, data, "sha256")

    def verifies(self, data: bytes, mac: str) -> bool:
        """Tell whether a hexadecimal MAC is that of the data."""
        return hmac.compare_digest(self.mac(data).hex().encode(), mac.encode())
