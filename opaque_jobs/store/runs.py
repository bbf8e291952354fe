"""Runs, moved along their lifecycle by compare-and-set."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from opaque_jobs.domain.lifecycle import RUN, JobStatus, RunEvent, RunState
from opaque_jobs.domain.run import RunKind
from opaque_jobs.errors import NotFoundError
from opaque_jobs.store import events
from opaque_jobs.store.records import RunRecord, add, compare_and_set, fetch, fetch_one
from opaque_jobs.store.tables import JobRow, MemberRow, RevisionRow, RunRow
from opaque_jobs.store.words import CloseReason

__all__ = [
    "OPEN_STATES",
    "KeyUse",
    "add_run",
    "apply_event",
    "key_uses",
    "next_number",
    "open_runs",
    "run",
    "run_of_attempt",
    "runs_by_authors_of",
    "runs_of_job",
    "runs_of_revisions",
    "set_lease",
]

OPEN_STATES = (RunState.QUEUED, RunState.RUNNING)


def add_run(session: Session, record: RunRecord) -> None:
    """Insert a run and write it into the history."""
    add(session, RunRow, record)
    events.append(
        session,
        noun="run",
        subject_id=record.id,
        event="open",
        actor=record.actor,
        now=record.created_at,
        job_id=record.job_id,
        revision=record.revision,
        kind=record.kind.value,
        trigger=record.trigger.value,
    )


def run(session: Session, run_id: str) -> RunRecord:
    """Give a run.

    Raises:
        NotFoundError: None by that id.
    """
    found = fetch_one(session, RunRecord, RunRow, RunRow.id == run_id)
    if found is None:
        raise NotFoundError("no such run", hint="see 'opaque-jobs run list'")
    return found


def run_of_attempt(session: Session, job_id: str, dag_run_id: str, attempt: int) -> RunRecord | None:
    """Give the run of an Airflow DAG run's attempt."""
    where = (RunRow.job_id == job_id, RunRow.dag_run_id == dag_run_id, RunRow.attempt == attempt)
    return fetch_one(session, RunRecord, RunRow, *where)


def runs_of_job(session: Session, job_id: str) -> list[RunRecord]:
    """Give a job's runs, newest first."""
    return fetch(session, RunRecord, RunRow, RunRow.job_id == job_id, order=RunRow.number.desc())


def runs_of_revisions(session: Session, revisions: Sequence[tuple[str, int]]) -> list[RunRecord]:
    """Give the real runs of some (job, revision), oldest first."""
    where = (tuple_(RunRow.job_id, RunRow.revision).in_(revisions), RunRow.kind == RunKind.REAL)
    return fetch(session, RunRecord, RunRow, *where, order=(RunRow.created_at, RunRow.id)) if revisions else []


class KeyUse(NamedTuple):
    """That a run asked for keys, without the run's documents."""

    job_id: str
    revision: int
    keys_asked_at: datetime | None
    state: RunState
    reason: CloseReason | None


def key_uses(session: Session) -> list[KeyUse]:
    """Give the requests for keys by real runs of all revisions that are accepted now."""
    accepted = select(RevisionRow.job_id).where(
        RevisionRow.job_id == RunRow.job_id, RevisionRow.revision == RunRow.revision, RevisionRow.status == JobStatus.ACCEPTED
    )
    where = (RunRow.keys_asked_at.is_not(None), RunRow.kind == RunKind.REAL, accepted.exists())
    found = session.execute(
        select(RunRow.job_id, RunRow.revision, RunRow.keys_asked_at, RunRow.state, RunRow.reason).where(*where)
    )
    return [KeyUse(*row) for row in found]


def runs_by_authors_of(session: Session, organisation_id: str, *, kind: RunKind) -> list[tuple[str, str, str]]:
    """Give (run, workspace, job digest) of all runs of jobs that members of an organisation wrote, oldest first."""
    found = session.execute(
        select(RunRow.id, JobRow.workspace_id, RunRow.job_digest)
        .join(JobRow, JobRow.id == RunRow.job_id)
        .join(MemberRow, MemberRow.id == JobRow.author_id)
        .where(MemberRow.organisation_id == organisation_id, RunRow.kind == kind)
        .order_by(RunRow.created_at, RunRow.id)
    )
    return [(run_id, workspace_id, job_digest) for run_id, workspace_id, job_digest in found]


def open_runs(session: Session) -> list[RunRecord]:
    """Give all runs that are queued or running, oldest first."""
    return fetch(session, RunRecord, RunRow, RunRow.state.in_(OPEN_STATES), order=(RunRow.created_at, RunRow.id))


def next_number(session: Session, job_id: str) -> int:
    """Give the number of a job's next run."""
    return 1 + (session.scalar(select(func.max(RunRow.number)).where(RunRow.job_id == job_id)) or 0)


def apply_event(session: Session, record: RunRecord, event: RunEvent, *, actor: str | None, now: datetime, **values: Any) -> None:
    """Move a run along its lifecycle and write it into the history.

    Raises:
        ConflictError: The event is not allowed now, or the run changed meanwhile.
    """
    state = RUN.next(record.state, event)
    same = (RunRow.id == record.id, RunRow.state == record.state, RunRow.version == record.version)
    times = {"started_at": now} if event is RunEvent.START else {"finished_at": now, "lease_until": None}
    compare_and_set(session, RunRow, *same, state=state, version=record.version + 1, **times, **values)
    reason = values.get("reason")
    events.append(
        session,
        noun="run",
        subject_id=record.id,
        event=event.value,
        actor=actor,
        now=now,
        reason=None if reason is None else str(reason),
    )


def set_lease(session: Session, run_id: str, *, until: datetime | None, **values: Any) -> None:
    """Prolong a running run's lease.

    Raises:
        ConflictError: The run is not running any more.
    """
    same = (RunRow.id == run_id, RunRow.state == RunState.RUNNING)
    compare_and_set(session, RunRow, *same, lease_until=until, **values)
