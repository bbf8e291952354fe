"""What an owner tells their own key broker about a dataset: here is its key, and here is where it may be used.

Both are signed by a member of the owning organisation. Of deposits the latest by `issued_at` counts; what takes a data set
back counts until a sharing names it. So an old one cannot be replayed.
"""

from dataclasses import dataclass
from typing import Final

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import SaltedPolicy
from opaque_jobs.domain.document import from_bytes, from_json, to_bytes
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "SHARING_SCOPE",
    "Deposit",
    "DepositSecret",
    "Sharing",
    "parse_deposit",
    "parse_deposit_secret",
    "parse_sharing",
    "sharing_subject",
]

SHARING_SCOPE: Final = "sharing"
"""Scope of unsharings among vetoes; holds have scopes of their own. Its basis is the workspace's first list."""


def _check_version_and_time(v: int, issued_at: str) -> None:
    try:
        parse_datetime(issued_at)
    except ValueError:
        v = 0
    if v != 1:
        raise InvalidInputError("a message to the broker has an unknown version or no valid date", hint="make it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositSecret:
    """What is sealed to the broker inside a deposit.

    Args:
        root_key: Base64 of the dataset version's root key.
        policy: What may be released, with its salt; only the owner and their broker see it.
    """

    root_key: str
    policy: SaltedPolicy

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """Predicate of a deposit; its subject is the manifest's digest.

    Args:
        v: Format version, 1.
        dataset_id: The dataset.
        dataset_version: Its version.
        organisation_id: Its owner.
        manifest_digest: Digest of the version's manifest.
        sealed: Envelope (JSON text) with a `DepositSecret`, sealed to the broker.
        issued_at: UTC, RFC 3339.
    """

    v: int
    dataset_id: str
    dataset_version: int
    organisation_id: str
    manifest_digest: str
    sealed: str
    issued_at: str

    def __post_init__(self) -> None:
        _check_version_and_time(self.v, self.issued_at)

    @property
    def seal_info(self) -> dict[str, str | int]:
        """Context that the envelope is sealed for."""
        return {
            "what": "dataset-deposit",
            "dataset_id": self.dataset_id,
            "dataset_version": self.dataset_version,
            "organisation_id": self.organisation_id,
            "manifest_digest": self.manifest_digest,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Predicate that shares a dataset into a workspace, or takes it back; its subject is the workspace's first roster.

    Args:
        v: Format version, 1.
        dataset_id: The dataset, all versions.
        organisation_id: Its owner.
        workspace_id: The workspace.
        workspace_genesis: Digest of its first roster.
        shared: False takes it back; that counts when it comes and until a sharing names it.
        lifts: Digests of the statements that took it back and that a sharing ends; none for one that takes it back.
        nonce: Random text, so that what is said again is another statement.
        issued_at: UTC, RFC 3339; for people.
    """

    v: int
    dataset_id: str
    organisation_id: str
    workspace_id: str
    workspace_genesis: str
    shared: bool
    lifts: tuple[str, ...]
    nonce: str
    issued_at: str

    def __post_init__(self) -> None:
        _check_version_and_time(self.v, self.issued_at)
        if self.lifts and not self.shared:
            raise InvalidInputError("what takes a data set back lifts nothing", hint="sign it again")

    @property
    def digest(self) -> str:
        """What a later sharing names it by."""
        return digest(to_bytes(self))


def parse_deposit_secret(data: bytes) -> DepositSecret:
    """Parse what was sealed in a deposit.

    Raises:
        InvalidInputError: Not such a document.
    """
    return from_bytes(DepositSecret, data, what="deposit")


def parse_deposit(predicate: object) -> Deposit:
    """Parse an untrusted predicate.

    Raises:
        InvalidInputError: Not a deposit.
    """
    return from_json(Deposit, predicate, what="deposit")


def parse_sharing(predicate: object) -> Sharing:
    """Parse an untrusted predicate.

    Raises:
        InvalidInputError: Not a sharing statement.
    """
    return from_json(Sharing, predicate, what="sharing statement")


def sharing_subject(dataset_id: str, workspace_id: str) -> str:
    """Return what an unsharing is about, among vetoes."""
    return f"{dataset_id}/{workspace_id}"
