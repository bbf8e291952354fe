"""Documents of the coordinator's API that no use case gives as they are: files by name and size instead of by path."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opaque_jobs.domain.dataset import Column, DatasetManifest, Source, TestDataKind

__all__ = [
    "DatasetDocument",
    "DatasetVersionDocument",
    "FileDocument",
    "FollowedList",
    "LogEntryDocument",
    "LogHeadDocument",
    "ProvenEntryDocument",
    "ReceiptDocument",
    "TextDocument",
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
class DatasetVersionDocument:
    """One version of a data set; `envelope` is the signed manifest, which names its files."""

    version: int
    manifest: DatasetManifest
    envelope: bytes
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDocument:
    """A data set as whoever may know of it sees it; see `protocol.views.DatasetView`.

    Args:
        test_files: Files of its test data.
    """

    id: str
    name: str
    organisation_id: str
    description: str
    source: Source
    versions: tuple[DatasetVersionDocument, ...]
    columns: tuple[Column, ...]
    test_data_kind: TestDataKind
    test_files: tuple[FileDocument, ...]
    workspace_ids: tuple[str, ...]
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDocument:
    """All that verifies a run, offline, without its result's key; see `protocol.views.ReceiptContext`.

    Args:
        files: Of the sealed result, whose digests the receipt names.
    """

    run_id: str
    receipt: bytes
    spec_bytes: bytes
    bundle_bytes: bytes
    inputs: Mapping[str, Any]
    refreshed: dict[str, str]
    files: tuple[FileDocument, ...]


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
class TextDocument:
    """A text that is made for whoever asks, such as a diff; `against` is the revision that it compares with."""

    text: str
    against: int | None


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
