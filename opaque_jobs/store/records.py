"""Rows as frozen values, and the few statements that all repositories are made of."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from sqlalchemy import ColumnElement, Table, insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from opaque_jobs.domain.dataset import Source, TestDataKind
from opaque_jobs.domain.job import Language, TeeKind
from opaque_jobs.domain.lifecycle import JobStatus, RunState, WorkspaceStatus
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import RunKind, Trigger
from opaque_jobs.errors import ConflictError, TrustError
from opaque_jobs.store.tables import Base
from opaque_jobs.store.words import CloseReason, RosterState

__all__ = [
    "AcceptanceRecord",
    "DatasetRecord",
    "DatasetVersionRecord",
    "EventRecord",
    "JobRecord",
    "KeyChangeRecord",
    "LogEntryRecord",
    "LogNodeRecord",
    "LogRecord",
    "MemberRecord",
    "OrganisationRecord",
    "PinnedQueryRecord",
    "RevisionDatasetRecord",
    "RevisionRecord",
    "RosterMemberRecord",
    "RosterRecord",
    "RunRecord",
    "ShareRecord",
    "VoteRecord",
    "Where",
    "WithdrawalRecord",
    "WorkspaceRecord",
    "add",
    "compare_and_set",
    "fetch",
    "fetch_one",
]

T = TypeVar("T")
Where = ColumnElement[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRecord:
    """An organisation known here."""

    id: str
    name: str
    sealing_key: str
    broker_deposit_key: str
    broker_signing_key: str
    broker_address: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """A person known here."""

    id: str
    name: str
    organisation_id: str
    public_key: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChangeRecord:
    """A signed change of key."""

    owner_id: str
    new_key_id: str
    old_key_id: str
    word: bytes
    possession: bytes | None
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceRecord:
    """A workspace."""

    id: str
    name: str
    description: str
    status: WorkspaceStatus
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRecord:
    """A roster's bytes and its state."""

    digest: str
    workspace_id: str
    epoch: int
    state: RosterState
    body: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterMemberRecord:
    """Somebody named in a roster."""

    roster_digest: str
    member_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceRecord:
    """A signed acceptance."""

    roster_digest: str
    member_id: str
    envelope: bytes
    accepted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """A data set."""

    id: str
    organisation_id: str
    name: str
    description: str
    source: Source
    test_data_kind: TestDataKind
    test_data_path: str | None
    released: bytes | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionRecord:
    """A version of a data set."""

    dataset_id: str
    version: int
    manifest_digest: str
    envelope: bytes
    storage: str
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRecord:
    """A data set in a workspace."""

    dataset_id: str
    workspace_id: str
    shared_by: str
    shared_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job with its draft."""

    id: str
    workspace_id: str
    author_id: str
    status: JobStatus
    archived: bool
    next_revision: int
    draft: bytes
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRecord:
    """A submitted revision."""

    job_id: str
    revision: int
    status: JobStatus
    version: int
    digest: str
    spec: bytes
    roster_digest: str
    submitted_at: datetime
    decided_at: datetime | None
    deadline: datetime | None
    test_run_id: str | None
    no_test_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionDatasetRecord:
    """A data set that a revision reads."""

    job_id: str
    revision: int
    dataset_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRecord:
    """A signed vote."""

    job_id: str
    revision: int
    member_id: str
    decision: Decision
    comment: str | None
    envelope: bytes
    voted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalRecord:
    """A signed withdrawal."""

    job_id: str
    revision: int
    member_id: str
    envelope: bytes
    withdrawn_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run."""

    id: str
    job_id: str
    revision: int
    number: int
    kind: RunKind
    trigger: Trigger
    actor: str | None
    state: RunState
    reason: CloseReason | None
    reasons: list[str]
    progress: str | None
    job_digest: str
    spec: bytes
    bundle: bytes | None
    inputs: dict[str, Any]
    refreshed: dict[str, int]
    dag_run_id: str
    attempt: int
    keys_asked_at: datetime | None
    receipt: bytes | None
    trust_label: TeeKind | None
    lease_until: datetime | None
    version: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedQueryRecord:
    """A query that a member keeps in a workspace."""

    member_id: str
    workspace_id: str
    name: str
    language: Language
    text: str
    pinned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A workspace's log."""

    workspace_id: str
    size: int
    frontier: bytes
    checkpoint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntryRecord:
    """An entry of a log."""

    workspace_id: str
    seq: int
    kind: EntryKind
    subject: str
    statement: str | None
    body: bytes
    document: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNodeRecord:
    """Root of a complete subtree."""

    workspace_id: str
    level: int
    position: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """Something that happened."""

    at: datetime
    actor: str | None
    noun: str
    subject_id: str
    event: str
    facts: dict[str, Any]


def _table(row: type[Base]) -> Table:
    return cast("Table", row.__table__)


def fetch(session: Session, kind: type[T], row: type[Base], *where: Where, order: Any = None) -> list[T]:
    """Read the rows of a table that fulfil all conditions, as records.

    Raises:
        TrustError: One holds what this program never wrote there; an ordinary error, so that who relies on it less can go on.
    """
    table = _table(row)
    names = [field.name for field in fields(cast("Any", kind))]
    statement = select(*(table.c[name] for name in names)).where(*where)
    if order is not None:
        statement = statement.order_by(*(order if isinstance(order, tuple) else (order,)))
    try:
        return [_record(kind, dict(found)) for found in session.execute(statement).mappings()]
    except (LookupError, TypeError, ValueError):
        raise TrustError(
            "a row of the database is not in the form in which it was written", hint="was the database changed? restore it"
        ) from None


def _record(kind: Any, values: dict[str, Any]) -> Any:
    for name, expected in _types(kind).items():
        if not isinstance(values[name], expected):  # SQLite keeps any value in any column
            raise TypeError(name)
    return kind(**values)


@functools.lru_cache(maxsize=64)
def _types(kind: type[Any]) -> dict[str, tuple[type, ...]]:
    return {name: tuple(_classes(hint)) for name, hint in get_type_hints(kind).items()}


def _classes(hint: Any) -> Iterator[type]:
    if isinstance(hint, UnionType):
        for each in get_args(hint):
            yield from _classes(each)
    else:
        yield object if hint is Any else get_origin(hint) or hint


def fetch_one(session: Session, kind: type[T], row: type[Base], *where: Where) -> T | None:
    """Read the one row that fulfils all conditions; None without one."""
    found = fetch(session, kind, row, *where)
    return found[0] if found else None


def add(session: Session, row: type[Base], *records: Any) -> None:
    """Insert records.

    Raises:
        IntegrityError: A key is taken or a reference missing (`Store.write` makes a `ConflictError` of it).
    """
    if records:
        values = [{field.name: getattr(record, field.name) for field in fields(record)} for record in records]
        session.execute(insert(_table(row)), values)


def compare_and_set(session: Session, row: type[Base], *where: Where, **values: Any) -> None:
    """Update exactly one row that still is as it was read.

    Raises:
        ConflictError: It is not: somebody changed it meanwhile.
    """
    result = cast("CursorResult[Any]", session.execute(update(_table(row)).where(*where).values(**values)))
    if result.rowcount != 1:
        raise ConflictError("somebody else changed this meanwhile", hint="look at it again, then repeat")
