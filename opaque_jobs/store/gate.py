"""What the gate in front of a run says, as one query and one pure rule; used by services (sync) and Airflow's trigger (async).

The gate is for people. What protects the data is each broker's own check.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import String, and_, cast, exists, or_, select

from opaque_jobs.domain.lifecycle import RUN, JobStatus, RunState, WorkspaceStatus
from opaque_jobs.store.tables import JobRow, RevisionDatasetRow, RevisionRow, RunRow, ShareRow, WorkspaceRow
from opaque_jobs.store.words import GateWord

__all__ = ["gate_query", "gate_word", "revision_key", "words_of"]

_REFUSALS: Final = {
    JobStatus.DRAFT: GateWord.REVIEW_CANCELLED,
    JobStatus.REJECTED: GateWord.REJECTED,
    JobStatus.EXPIRED: GateWord.EXPIRED,
    JobStatus.WITHDRAWN: GateWord.WITHDRAWN,
    JobStatus.SUPERSEDED: GateWord.SUPERSEDED,
}


def revision_key(job_id: str, revision: int) -> str:
    """Give the id of a revision in gate questions."""
    return f"{job_id}@{revision}"


def gate_query(ids: Sequence[str]) -> Any:
    """Give the one question about many run ids and revision ids."""
    key = JobRow.id + "@" + cast(RevisionRow.revision, String)
    unshared = exists().where(
        RevisionDatasetRow.job_id == RevisionRow.job_id,
        RevisionDatasetRow.revision == RevisionRow.revision,
        ~exists()
        .where(ShareRow.dataset_id == RevisionDatasetRow.dataset_id, ShareRow.workspace_id == JobRow.workspace_id)
        .correlate(RevisionDatasetRow, JobRow),
    )
    return (
        select(
            key.label("revision_id"),
            RunRow.id.label("run_id"),
            RunRow.state.label("run_state"),
            RevisionRow.status.label("status"),
            RevisionRow.deadline.label("deadline"),
            JobRow.archived.label("archived"),
            WorkspaceRow.status.label("workspace_status"),
            unshared.correlate(RevisionRow, JobRow).label("unshared"),
        )
        .select_from(RevisionRow)
        .join(JobRow, JobRow.id == RevisionRow.job_id)
        .join(WorkspaceRow, WorkspaceRow.id == JobRow.workspace_id)
        .outerjoin(
            RunRow,
            and_(RunRow.job_id == RevisionRow.job_id, RunRow.revision == RevisionRow.revision, RunRow.id.in_(ids)),
        )
        .where(or_(RunRow.id.is_not(None), key.in_(ids)))
    )


def words_of(ids: Iterable[str], rows: Iterable[Mapping[str, Any]], *, now: datetime) -> dict[str, str]:
    """Give the word for each id; ids that are not found are `unknown`."""
    words = dict.fromkeys(ids, GateWord.UNKNOWN.value)
    for row in rows:
        facts = {name: row[name] for name in ("status", "deadline", "archived", "workspace_status", "unshared")}
        for name, state in (("revision_id", None), ("run_id", row["run_state"])):
            if row[name] in words:
                words[row[name]] = gate_word(run_state=state, now=now, **facts).value
    return words


def gate_word(
    *,
    run_state: RunState | None,
    status: JobStatus,
    deadline: datetime | None,
    archived: bool,
    workspace_status: WorkspaceStatus,
    unshared: bool,
    now: datetime,
) -> GateWord:
    """Give the word for one run or revision."""
    if run_state is not None and RUN.terminal(run_state):
        return GateWord.RUN_CLOSED
    if status in _REFUSALS:
        return _REFUSALS[status]
    if archived or workspace_status is not WorkspaceStatus.ACTIVE:
        return GateWord.ARCHIVED
    if unshared:
        return GateWord.DATASET_UNSHARED
    if status is JobStatus.ACCEPTED:
        return GateWord.OPEN
    return GateWord.EXPIRED if deadline is not None and deadline <= now else GateWord.WAITING
