"""What stands in a workspace's log, and the proof that something does.

An entry says what happened, when, and to what: ids, digests and words, nothing from data. What somebody signed is named by the
digest of its bytes, which are kept and shown beside the entry.

A change of a key has no entry of its own. A key consents to nothing before a member list that names it is in force; that list and
everybody's acceptance stand here. Who vouched for the key is what each member's command verifies before it signs.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from opaque_jobs.domain.canonical import parse_canonical
from opaque_jobs.domain.document import from_bytes, from_json, to_bytes
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "PAGE_ENTRIES",
    "EntryKind",
    "LogEntry",
    "LogPage",
    "LogProof",
    "LoggedEntry",
    "ProvenEntry",
    "parse_entry",
    "parse_page",
]

PAGE_ENTRIES: Final = 2000
"""Most entries in one page: who brings a log sends no more at once, and a broker takes no more."""
_PAGE: Final = "page of the log"


class EntryKind(StrEnum):
    """What an entry is about; behind it what `statement` is the digest of. `crypto.log_documents` holds each to it."""

    ROSTER = "roster"  # the member list's canonical bytes
    ACCEPTANCE = "acceptance"  # envelope of a member
    DATASET = "dataset"  # nothing: the facts name the manifest's digest
    SHARING = "sharing"  # envelope of a member of the owner
    SUBMISSION = "submission"  # nothing
    TEST_RUN = "test-run"  # nothing
    VOTE = "vote"  # envelope of a member
    WITHDRAWAL = "withdrawal"  # envelope of a member
    RUN = "run"  # nothing
    RELEASE = "release"  # envelope of a broker
    ERASURE = "erasure"  # envelope of a broker
    OUTCOME = "outcome"  # the receipt, if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One entry; its canonical bytes are the leaf of the tree.

    Args:
        v: Format version, 1.
        workspace_id: The workspace.
        seq: Its index in the log, from 0.
        at: UTC, RFC 3339, as the log's keeper says.
        kind: What it is about.
        subject: Id of the thing.
        facts: Ids, digests, numbers and words.
        statement: Digest of the bytes that somebody signed, or None.
    """

    v: int
    workspace_id: str
    seq: int
    at: str
    kind: EntryKind
    subject: str
    facts: dict[str, str | int | bool | None]
    statement: str | None

    def __post_init__(self) -> None:
        if self.v != 1 or self.seq < 0:
            raise InvalidInputError("a log entry has an unknown version", hint="was it written by another version?")

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEntry:
    """An entry with its inclusion path (hex hashes, leaf side first) in the tree of one checkpoint."""

    entry: LogEntry
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """Entries, all proven against one checkpoint.

    Args:
        checkpoint: Signed note.
        entries: In order of the log.
    """

    checkpoint: str
    entries: tuple[ProvenEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEntry:
    """An entry with the text whose digest its `statement` is."""

    entry: LogEntry
    document: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Consecutive entries of a workspace's log, and the checkpoint of the tree that ends with them.

    Args:
        v: Format version, 1.
        workspace_id: The workspace.
        first: Index of the first entry.
        entries: In order, none left out.
        checkpoint: Signed note, of exactly the size after the last of them.
    """

    v: int
    workspace_id: str
    first: int
    entries: tuple[LoggedEntry, ...]
    checkpoint: str

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)


def parse_page(data: bytes) -> LogPage:
    """Parse untrusted bytes.

    Raises:
        InvalidInputError: Not a page, or a longer one than anybody sends.
    """
    document = parse_canonical(data, fields=[field.name for field in fields(LogPage)], what=_PAGE)
    entries = document["entries"]
    if isinstance(entries, list) and len(entries) > PAGE_ENTRIES:
        raise InvalidInputError(
            "a page of the log has too many entries", hint=f"bring at most {PAGE_ENTRIES} at once", entries=len(entries)
        )
    return from_json(LogPage, document, what=_PAGE)


def parse_entry(data: bytes) -> LogEntry:
    """Parse a leaf.

    Raises:
        InvalidInputError: Not an entry.
    """
    return from_bytes(LogEntry, data, what="log entry")
