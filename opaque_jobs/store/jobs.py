"""Jobs and their submitted revisions, moved along their lifecycle by compare-and-set."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from opaque_jobs.domain.lifecycle import JOB, JobEvent, JobStatus
from opaque_jobs.errors import NotFoundError
from opaque_jobs.store import events
from opaque_jobs.store.records import (
    JobRecord,
    RevisionDatasetRecord,
    RevisionRecord,
    add,
    compare_and_set,
    fetch,
    fetch_one,
)
from opaque_jobs.store.tables import DatasetVersionRow, JobRow, RevisionDatasetRow, RevisionRow, VoteRow, WithdrawalRow

__all__ = [
    "accepted_revision",
    "add_job",
    "add_revision",
    "apply_job_event",
    "apply_revision_event",
    "behind",
    "find_job",
    "job",
    "jobs_in",
    "overdue",
    "remove_job",
    "revision",
    "revisions",
    "revisions_in",
    "revisions_of_dataset",
    "revisions_reading",
    "set_job",
]


def add_job(session: Session, record: JobRecord) -> None:
    """Insert a job."""
    add(session, JobRow, record)


def find_job(session: Session, job_id: str) -> JobRecord | None:
    """Give a job, or None."""
    return fetch_one(session, JobRecord, JobRow, JobRow.id == job_id)


def job(session: Session, job_id: str) -> JobRecord:
    """Give a job.

    Raises:
        NotFoundError: None by that id.
    """
    found = find_job(session, job_id)
    if found is None:
        raise NotFoundError("no such job", hint="list yours with 'opaque-jobs job list'")
    return found


def jobs_in(session: Session, workspace_ids: Sequence[str]) -> list[JobRecord]:
    """Give the jobs of some workspaces, newest first."""
    where = JobRow.workspace_id.in_(workspace_ids)
    return fetch(session, JobRecord, JobRow, where, order=(JobRow.created_at.desc(), JobRow.id))


def set_job(session: Session, record: JobRecord, *, event: str, actor: str, now: datetime, **values: Any) -> None:
    """Change a job without changing its status, by compare-and-set.

    Raises:
        ConflictError: It changed meanwhile.
    """
    _update_job(session, record, now=now, **values)
    events.append(session, noun="job", subject_id=record.id, event=event, actor=actor, now=now)


def apply_job_event(
    session: Session, record: JobRecord, event: JobEvent, *, actor: str | None, now: datetime, **values: Any
) -> None:
    """Move a job along its lifecycle and write it into the history.

    Raises:
        ConflictError: The event is not allowed now, or the job changed meanwhile.
    """
    status = JOB.next(record.status, event)
    _update_job(session, record, now=now, status=status, **values)
    events.append(session, noun="job", subject_id=record.id, event=event.value, actor=actor, now=now)


def _update_job(session: Session, record: JobRecord, *, now: datetime, **values: Any) -> None:
    same = (JobRow.id == record.id, JobRow.status == record.status, JobRow.version == record.version)
    compare_and_set(session, JobRow, *same, version=record.version + 1, updated_at=now, **values)


def remove_job(session: Session, job_id: str) -> None:
    """Delete a job and its revisions; the history keeps that it was there."""
    for row in (VoteRow, WithdrawalRow, RevisionDatasetRow, RevisionRow):
        session.execute(delete(row).where(row.job_id == job_id))
    session.execute(delete(JobRow).where(JobRow.id == job_id))


def add_revision(session: Session, record: RevisionRecord, dataset_ids: Sequence[str]) -> None:
    """Insert a submission."""
    add(session, RevisionRow, record)
    reads = [
        RevisionDatasetRecord(job_id=record.job_id, revision=record.revision, dataset_id=each)
        for each in sorted(set(dataset_ids))
    ]
    add(session, RevisionDatasetRow, *reads)


def revision(session: Session, job_id: str, number: int) -> RevisionRecord:
    """Give one revision.

    Raises:
        NotFoundError: There is none of that number.
    """
    where = (RevisionRow.job_id == job_id, RevisionRow.revision == number)
    found = fetch_one(session, RevisionRecord, RevisionRow, *where)
    if found is None:
        raise NotFoundError("no such revision of the job", hint="see 'opaque-jobs job show'", revision=number)
    return found


def revisions(session: Session, job_id: str) -> list[RevisionRecord]:
    """Give the revisions of a job, ascending."""
    return fetch(session, RevisionRecord, RevisionRow, RevisionRow.job_id == job_id, order=RevisionRow.revision)


def accepted_revision(session: Session, job_id: str) -> RevisionRecord | None:
    """Give the revision that may run."""
    where = (RevisionRow.job_id == job_id, RevisionRow.status == JobStatus.ACCEPTED)
    return fetch_one(session, RevisionRecord, RevisionRow, *where)


def revisions_in(
    session: Session, statuses: Sequence[JobStatus], *, workspace_id: str | None = None, unarchived: bool = False
) -> list[RevisionRecord]:
    """Give the revisions with one of these statuses, in one workspace or all, of all jobs or those not archived."""
    where = [RevisionRow.status.in_(statuses)]
    if workspace_id is not None:
        where.append(RevisionRow.job_id.in_(_ids_in(workspace_id)))
    if unarchived:
        where.append(RevisionRow.job_id.in_(select(JobRow.id).where(JobRow.archived.is_(False))))
    return fetch(session, RevisionRecord, RevisionRow, *where, order=(RevisionRow.job_id, RevisionRow.revision))


def revisions_reading(session: Session, dataset_id: str, *, workspace_id: str) -> list[tuple[str, int]]:
    """Give (job, revision) of everything in a workspace that reads a data set."""
    where = (RevisionDatasetRow.dataset_id == dataset_id, RevisionDatasetRow.job_id.in_(_ids_in(workspace_id)))
    return [(each.job_id, each.revision) for each in fetch(session, RevisionDatasetRecord, RevisionDatasetRow, *where)]


def revisions_of_dataset(session: Session, dataset_id: str) -> list[RevisionRecord]:
    """Return the revisions, of jobs not archived, that read a data set."""
    reading = exists().where(
        RevisionDatasetRow.job_id == RevisionRow.job_id,
        RevisionDatasetRow.revision == RevisionRow.revision,
        RevisionDatasetRow.dataset_id == dataset_id,
    )
    shown = RevisionRow.job_id.in_(select(JobRow.id).where(JobRow.archived.is_(False)))
    where = (shown, reading.correlate(RevisionRow))
    return fetch(session, RevisionRecord, RevisionRow, *where, order=(RevisionRow.job_id, RevisionRow.revision))


def behind(session: Session) -> list[RevisionRecord]:
    """Give the accepted revisions of jobs not archived that read a data set of which a version was registered since."""
    newer = exists().where(
        RevisionDatasetRow.job_id == RevisionRow.job_id,
        RevisionDatasetRow.revision == RevisionRow.revision,
        DatasetVersionRow.dataset_id == RevisionDatasetRow.dataset_id,
        DatasetVersionRow.registered_at > RevisionRow.decided_at,
    )
    shown = RevisionRow.job_id.in_(select(JobRow.id).where(JobRow.archived.is_(False)))
    where = (RevisionRow.status == JobStatus.ACCEPTED, shown, newer.correlate(RevisionRow))
    return fetch(session, RevisionRecord, RevisionRow, *where, order=(RevisionRow.job_id, RevisionRow.revision))


def _ids_in(workspace_id: str) -> Any:
    return select(JobRow.id).where(JobRow.workspace_id == workspace_id)


def overdue(session: Session, now: datetime) -> list[RevisionRecord]:
    """Give the revisions under review whose deadline has passed."""
    where = (RevisionRow.status == JobStatus.UNDER_REVIEW, RevisionRow.deadline <= now)
    return fetch(session, RevisionRecord, RevisionRow, *where, order=(RevisionRow.job_id, RevisionRow.revision))


def with_deadline(session: Session, now: datetime) -> list[RevisionRecord]:
    """Give the revisions under review or accepted whose deadline has not passed."""
    where = (RevisionRow.status.in_([JobStatus.UNDER_REVIEW, JobStatus.ACCEPTED]), RevisionRow.deadline > now)
    return fetch(session, RevisionRecord, RevisionRow, *where, order=(RevisionRow.job_id, RevisionRow.revision))


def apply_revision_event(session: Session, record: RevisionRecord, event: JobEvent, *, actor: str | None, now: datetime) -> None:
    """Move a revision along the job lifecycle and write it into the history.

    Raises:
        ConflictError: The event is not allowed now, or the revision changed meanwhile.
    """
    compare_and_set(
        session,
        RevisionRow,
        RevisionRow.job_id == record.job_id,
        RevisionRow.revision == record.revision,
        RevisionRow.status == record.status,
        RevisionRow.version == record.version,
        status=JOB.next(record.status, event),
        version=record.version + 1,
        decided_at=now,
    )
    events.append(
        session,
        noun="revision",
        subject_id=record.job_id,
        event=event.value,
        actor=actor,
        now=now,
        revision=record.revision,
        digest=record.digest,
    )
