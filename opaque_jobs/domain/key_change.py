"""That a member or an organisation has another key now: what the former key, or the organisation, signs."""

from dataclasses import dataclass
from enum import StrEnum

from opaque_jobs.domain.workspace import decode_key, key_id

__all__ = ["Authority", "KeyChange", "KeyUse", "NamedChange"]


class KeyUse(StrEnum):
    """What the key is for."""

    SIGNING = "signing"
    SEALING = "sealing"


class Authority(StrEnum):
    """On whose word a key counts as the next one."""

    FORMER_KEY = "former_key"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """Predicate of a key change; its subject is the id of the new key.

    Args:
        owner_id: The member (signing) or organisation (sealing).
        use: What the key is for.
        old_key_id: The key before.
        new_key: The key from now on (base64).
        changed_at: UTC, RFC 3339.
    """

    owner_id: str
    use: KeyUse
    old_key_id: str
    new_key: str
    changed_at: str

    @property
    def new_key_id(self) -> str:
        """Id of the new key."""
        return key_id(decode_key(self.new_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedChange:
    """A key that a proposed member list changes, for people to read before they sign.

    Args:
        name: The member or organisation.
        use: What the key is for.
        authority: On whose word.
    """

    name: str
    use: KeyUse
    authority: Authority
