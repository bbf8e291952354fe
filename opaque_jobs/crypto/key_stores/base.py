"""What a key store offers: it protects a few secret bytes, and, if it can, signs with keys that never leave it.

No token and no service holds X-Wing keys, so sealing keys are always protected bytes; Ed25519 keys stay inside where the store
signs by itself.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from opaque_jobs.crypto.keys import Signer, VerifyKey

__all__ = ["Held", "KeyStore", "SigningKeyStore"]

Held = Mapping[str, str]
"""What a key file keeps for its store: where the key is, and protected bytes. Readable by anyone; never a secret."""


@runtime_checkable
class KeyStore(Protocol):
    """One kind of place for keys.

    Errors of every method: `ConfigurationError` if the place cannot be reached or used, `DeniedError` if it does not allow
    this, `NotFoundError` if the key is not there, `TrustError` if the secret is wrong or something was changed. None holds the
    secret, the key, or any text that came from the place.
    """

    @property
    def secret_name(self) -> str:
        """What opens it, as a person is asked for it: passphrase, PIN, token."""

    @property
    def chosen(self) -> bool:
        """Whether that secret is chosen when a key is made (and so asked for twice)."""

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the settings that say where the place is."""

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of further settings."""

    def protect(self, secret: str, plain: bytes, *, where: Mapping[str, str], label: str, bound_to: bytes) -> Held:
        """Encrypt a few bytes so that only the place opens them again.

        Args:
            secret: Opens the place.
            plain: At most 4 KiB.
            where: Settings, checked to be exactly the known ones.
            label: A fresh name for whatever is made there.
            bound_to: Authenticated, and demanded again by `reveal`.
        """

    def reveal(self, secret: str, held: Held, *, bound_to: bytes) -> bytes:
        """Give back what was protected."""


@runtime_checkable
class SigningKeyStore(KeyStore, Protocol):
    """A store that signs by itself."""

    def make_signing_key(self, secret: str, *, where: Mapping[str, str], label: str) -> tuple[VerifyKey, Held]:
        """Make an Ed25519 key that cannot leave the place."""

    def signer(self, secret: str, held: Held, *, public: VerifyKey) -> Signer:
        """Give what signs with it, after looking that the place holds the key of this public half."""
