"""The tables. Closed word lists are checked by the database; times are aware UTC; documents are kept as their exact bytes."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from opaque_jobs.domain.dataset import Source, TestDataKind
from opaque_jobs.domain.job import Language, TeeKind
from opaque_jobs.domain.lifecycle import JobStatus, RunState, WorkspaceStatus
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import RunKind, Trigger
from opaque_jobs.store.words import CloseReason, RosterState

__all__ = [
    "AcceptanceRow",
    "AnswerRow",
    "Base",
    "DatasetRow",
    "DatasetVersionRow",
    "EventRow",
    "JobRow",
    "KeyChangeRow",
    "LogEntryRow",
    "LogNodeRow",
    "LogRow",
    "LogSignerRow",
    "MemberRow",
    "OrganisationRow",
    "PinnedQueryRow",
    "RevisionDatasetRow",
    "RevisionRow",
    "RosterMemberRow",
    "RosterRow",
    "RunRow",
    "ShareRow",
    "UtcDateTime",
    "VoteRow",
    "WithdrawalRow",
    "WorkspaceRow",
]


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times in, aware UTC times out, on databases with and without time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store as UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _words(kind: type[StrEnum]) -> Enum:
    return Enum(
        kind,
        native_enum=False,
        create_constraint=True,
        length=40,
        name=kind.__name__.lower(),
        values_callable=lambda words: [word.value for word in words],
    )


class Base(DeclarativeBase):
    """Root of the tables, with stable constraint names for migrations."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - the name and form are SQLAlchemy's
        datetime: UtcDateTime(),
        bytes: LargeBinary(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        str: String(255),
        int: Integer(),
        bool: Boolean(),
    }


class OrganisationRow(Base):
    """An organisation known here."""

    __tablename__ = "organisations"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    sealing_key: Mapped[str] = mapped_column(Text)
    broker_deposit_key: Mapped[str] = mapped_column(Text)
    broker_signing_key: Mapped[str]
    broker_address: Mapped[str]
    created_at: Mapped[datetime]


class MemberRow(Base):
    """A person known here."""

    __tablename__ = "members"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    public_key: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class KeyChangeRow(Base):
    """A member's or organisation's signed change of key."""

    __tablename__ = "key_changes"
    owner_id: Mapped[str] = mapped_column(primary_key=True)
    new_key_id: Mapped[str] = mapped_column(primary_key=True)
    old_key_id: Mapped[str]
    word: Mapped[bytes]
    possession: Mapped[bytes | None]
    changed_at: Mapped[datetime]


class WorkspaceRow(Base):
    """A workspace."""

    __tablename__ = "workspaces"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(Text)
    status: Mapped[WorkspaceStatus] = mapped_column(_words(WorkspaceStatus))
    version: Mapped[int]
    created_at: Mapped[datetime]


class RosterRow(Base):
    """One roster; `body` is what members sign."""

    __tablename__ = "rosters"
    __table_args__ = (
        Index(
            "ix_rosters_one_in_force",
            "workspace_id",
            unique=True,
            sqlite_where=text("state = 'in_force'"),
            postgresql_where=text("state = 'in_force'"),
        ),
        Index(
            "ix_rosters_one_proposed",
            "workspace_id",
            unique=True,
            sqlite_where=text("state = 'proposed'"),
            postgresql_where=text("state = 'proposed'"),
        ),
    )
    digest: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), index=True)
    epoch: Mapped[int]
    state: Mapped[RosterState] = mapped_column(_words(RosterState))
    body: Mapped[bytes]
    created_at: Mapped[datetime]


class RosterMemberRow(Base):
    """Who is in a roster, for queries; the roster's bytes are what counts."""

    __tablename__ = "roster_members"
    roster_digest: Mapped[str] = mapped_column(ForeignKey("rosters.digest"), primary_key=True)
    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True, index=True)


class AcceptanceRow(Base):
    """A signed acceptance of a roster."""

    __tablename__ = "acceptances"
    roster_digest: Mapped[str] = mapped_column(ForeignKey("rosters.digest"), primary_key=True)
    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    envelope: Mapped[bytes]
    accepted_at: Mapped[datetime]


class DatasetRow(Base):
    """A data set."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(Text)
    source: Mapped[Source] = mapped_column(_words(Source))
    test_data_kind: Mapped[TestDataKind] = mapped_column(_words(TestDataKind))
    test_data_path: Mapped[str | None] = mapped_column(Text)
    released: Mapped[bytes | None]
    created_at: Mapped[datetime]


class DatasetVersionRow(Base):
    """An immutable version; `envelope` is the signed manifest."""

    __tablename__ = "dataset_versions"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    manifest_digest: Mapped[str]
    envelope: Mapped[bytes]
    storage: Mapped[str] = mapped_column(Text)
    registered_at: Mapped[datetime]


class ShareRow(Base):
    """A data set is shared into a workspace."""

    __tablename__ = "dataset_shares"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), primary_key=True, index=True)
    shared_by: Mapped[str] = mapped_column(ForeignKey("members.id"))
    shared_at: Mapped[datetime]


class JobRow(Base):
    """A job and its draft."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), index=True)
    author_id: Mapped[str] = mapped_column(ForeignKey("members.id"))
    status: Mapped[JobStatus] = mapped_column(_words(JobStatus))
    archived: Mapped[bool]
    next_revision: Mapped[int]
    draft: Mapped[bytes]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RevisionRow(Base):
    """One submission; everything but status, version and decision time is immutable."""

    __tablename__ = "revisions"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[JobStatus] = mapped_column(_words(JobStatus), index=True)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(unique=True)
    spec: Mapped[bytes]
    roster_digest: Mapped[str] = mapped_column(ForeignKey("rosters.digest"))
    submitted_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    test_run_id: Mapped[str | None]
    no_test_reason: Mapped[str | None] = mapped_column(Text)


class RevisionDatasetRow(Base):
    """Which data sets a revision reads, for the gate."""

    __tablename__ = "revision_datasets"
    __table_args__ = (ForeignKeyConstraint(["job_id", "revision"], ["revisions.job_id", "revisions.revision"]),)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True, index=True)


class VoteRow(Base):
    """A signed vote."""

    __tablename__ = "votes"
    __table_args__ = (ForeignKeyConstraint(["job_id", "revision"], ["revisions.job_id", "revisions.revision"]),)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    decision: Mapped[Decision] = mapped_column(_words(Decision))
    comment: Mapped[str | None] = mapped_column(Text)
    envelope: Mapped[bytes]
    voted_at: Mapped[datetime]


class WithdrawalRow(Base):
    """A signed withdrawal of consent."""

    __tablename__ = "withdrawals"
    __table_args__ = (ForeignKeyConstraint(["job_id", "revision"], ["revisions.job_id", "revisions.revision"]),)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    envelope: Mapped[bytes]
    withdrawn_at: Mapped[datetime]


class RunRow(Base):
    """One execution; `spec` and `bundle` are what it really ran with."""

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("job_id", "dag_run_id", "attempt"), UniqueConstraint("job_id", "number"))
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    revision: Mapped[int]
    number: Mapped[int]
    kind: Mapped[RunKind] = mapped_column(_words(RunKind))
    trigger: Mapped[Trigger] = mapped_column(_words(Trigger))
    actor: Mapped[str | None] = mapped_column(ForeignKey("members.id"))
    state: Mapped[RunState] = mapped_column(_words(RunState), index=True)
    reason: Mapped[CloseReason | None] = mapped_column(_words(CloseReason))
    reasons: Mapped[list[str]]
    progress: Mapped[str | None]
    job_digest: Mapped[str]
    spec: Mapped[bytes]
    bundle: Mapped[bytes | None]
    inputs: Mapped[dict[str, Any]]
    refreshed: Mapped[dict[str, Any]]
    dag_run_id: Mapped[str]
    attempt: Mapped[int]
    keys_asked_at: Mapped[datetime | None]
    receipt: Mapped[bytes | None]
    trust_label: Mapped[TeeKind | None] = mapped_column(_words(TeeKind))
    lease_until: Mapped[datetime | None]
    version: Mapped[int]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class PinnedQueryRow(Base):
    """A query that a member keeps in a workspace, for themselves."""

    __tablename__ = "pinned_queries"
    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    language: Mapped[Language] = mapped_column(_words(Language))
    text: Mapped[str] = mapped_column(Text)
    pinned_at: Mapped[datetime]


class AnswerRow(Base):
    """What was answered to a change that somebody asked for under an idempotency key; no status while it is carried out."""

    __tablename__ = "answers"
    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    asked: Mapped[str]
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    asked_at: Mapped[datetime] = mapped_column(index=True)


class LogSignerRow(Base):
    """The public key with which this installation's logs sign; one row."""

    __tablename__ = "log_signer"
    public_key: Mapped[str] = mapped_column(primary_key=True)


class LogRow(Base):
    """The tree of one workspace's log as far as appending needs it, and its newest signed checkpoint."""

    __tablename__ = "logs"
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    size: Mapped[int]
    frontier: Mapped[bytes]
    checkpoint: Mapped[str | None] = mapped_column(Text)


class LogEntryRow(Base):
    """One entry; `body` is the leaf, `document` the bytes whose digest it names."""

    __tablename__ = "log_entries"
    __table_args__ = (
        Index("ix_log_entries_statement", "workspace_id", "statement"),
        Index("ix_log_entries_subject", "workspace_id", "kind", "subject"),
    )
    workspace_id: Mapped[str] = mapped_column(ForeignKey("logs.workspace_id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[EntryKind] = mapped_column(_words(EntryKind))
    subject: Mapped[str]
    statement: Mapped[str | None]
    body: Mapped[bytes]
    document: Mapped[bytes | None]


class LogNodeRow(Base):
    """Root of a complete subtree, for proofs."""

    __tablename__ = "log_nodes"
    workspace_id: Mapped[str] = mapped_column(ForeignKey("logs.workspace_id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class EventRow(Base):
    """Who did what and when: ids and words only, written in the same transaction as the change."""

    __tablename__ = "events"
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor: Mapped[str | None]
    noun: Mapped[str]
    subject_id: Mapped[str] = mapped_column(index=True)
    event: Mapped[str]
    facts: Mapped[dict[str, Any]]
