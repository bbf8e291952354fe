"""Documents of the coordinator's API beside the views of `protocol.views`: who asks, files, uploads, and entries of logs."""

from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "FileDocument",
    "FollowedList",
    "LogEntryDocument",
    "LogHeadDocument",
    "ProvenEntryDocument",
    "UploadDocument",
    "WhoAmI",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoAmI:
    """Who is asking, as the coordinator knows them.

    Args:
        member_id: Id.
        name: Name.
        organisation_id: Their organisation.
        via: How they were authenticated.
        version: The coordinator's program.
    """

    member_id: str
    name: str
    organisation_id: str
    via: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDocument:
    """A file that can be fetched, in whole or by ranges."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedList:
    """The member list that a waiting one says it follows, with its acceptances; nothing of it is verified."""

    roster: bytes
    acceptances: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHeadDocument:
    """The newest state of a workspace's log: entries in it, and the newest signed note."""

    workspace_id: str
    size: int
    checkpoint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntryDocument:
    """An entry's exact bytes, and what somebody signed if it names something."""

    seq: int
    body: bytes
    document: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEntryDocument:
    """An entry with the path from its leaf to the root of a tree."""

    seq: int
    body: bytes
    document: bytes | None
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadDocument:
    """Files that are on their way, visible to nobody else.

    Args:
        id: Where to send them.
        files: What has arrived, in bytes: an upload goes on from there.
        expires_at: When what is not finished is removed.
    """

    id: str
    files: tuple[FileDocument, ...]
    expires_at: datetime
