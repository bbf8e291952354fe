"""Workspaces, their rosters and the acceptances that put a roster in force."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from opaque_jobs.domain.lifecycle import WORKSPACE, WorkspaceEvent
from opaque_jobs.errors import NotFoundError
from opaque_jobs.store import events
from opaque_jobs.store.records import (
    AcceptanceRecord,
    RosterMemberRecord,
    RosterRecord,
    WorkspaceRecord,
    add,
    compare_and_set,
    fetch,
    fetch_one,
)
from opaque_jobs.store.tables import AcceptanceRow, RosterMemberRow, RosterRow, WorkspaceRow
from opaque_jobs.store.words import RosterState

__all__ = [
    "acceptances",
    "add_acceptance",
    "add_workspace",
    "apply_event",
    "member_of",
    "past_rosters",
    "propose",
    "roster",
    "roster_in_state",
    "set_roster_state",
    "workspace",
    "workspaces_of",
]


def add_workspace(session: Session, record: WorkspaceRecord) -> None:
    """Insert a workspace."""
    add(session, WorkspaceRow, record)


def workspace(session: Session, workspace_id: str) -> WorkspaceRecord:
    """Give a workspace.

    Raises:
        NotFoundError: None by that id.
    """
    found = fetch_one(session, WorkspaceRecord, WorkspaceRow, WorkspaceRow.id == workspace_id)
    if found is None:
        raise NotFoundError("no such workspace", hint="list yours with 'opaque-jobs workspace list'")
    return found


def workspaces_of(session: Session, member_id: str) -> list[WorkspaceRecord]:
    """Give the workspaces in whose proposed or current roster somebody is named, by name."""
    rosters = (
        select(RosterRow.workspace_id)
        .join(RosterMemberRow, RosterMemberRow.roster_digest == RosterRow.digest)
        .where(RosterMemberRow.member_id == member_id, RosterRow.state.in_([RosterState.PROPOSED, RosterState.IN_FORCE]))
    )
    return fetch(session, WorkspaceRecord, WorkspaceRow, WorkspaceRow.id.in_(rosters), order=(WorkspaceRow.name, WorkspaceRow.id))


def member_of(session: Session, member_id: str) -> list[str]:
    """Give the ids of the workspaces whose roster in force names somebody."""
    rosters = (
        select(RosterRow.workspace_id)
        .join(RosterMemberRow, RosterMemberRow.roster_digest == RosterRow.digest)
        .where(RosterMemberRow.member_id == member_id, RosterRow.state == RosterState.IN_FORCE)
        .order_by(RosterRow.workspace_id)
    )
    return list(session.scalars(rosters))


def apply_event(session: Session, record: WorkspaceRecord, event: WorkspaceEvent, *, actor: str | None, now: datetime) -> None:
    """Move a workspace along its lifecycle and write it into the history.

    Raises:
        ConflictError: The event is not allowed, or the row changed meanwhile.
    """
    compare_and_set(
        session,
        WorkspaceRow,
        WorkspaceRow.id == record.id,
        WorkspaceRow.status == record.status,
        WorkspaceRow.version == record.version,
        status=WORKSPACE.next(record.status, event),
        version=record.version + 1,
    )
    events.append(session, noun="workspace", subject_id=record.id, event=event.value, actor=actor, now=now)


def propose(session: Session, record: RosterRecord, member_ids: list[str]) -> None:
    """Make a roster the one that waits for signatures; an earlier proposal is replaced."""
    earlier = roster_in_state(session, record.workspace_id, RosterState.PROPOSED)
    if earlier is not None:
        set_roster_state(session, earlier, RosterState.REPLACED)
    add(session, RosterRow, record)
    add(session, RosterMemberRow, *(RosterMemberRecord(roster_digest=record.digest, member_id=each) for each in member_ids))


def roster(session: Session, digest: str) -> RosterRecord | None:
    """Give a roster by its digest."""
    return fetch_one(session, RosterRecord, RosterRow, RosterRow.digest == digest)


def roster_in_state(session: Session, workspace_id: str, state: RosterState) -> RosterRecord | None:
    """Give the roster that is proposed or in force."""
    return fetch_one(session, RosterRecord, RosterRow, RosterRow.workspace_id == workspace_id, RosterRow.state == state)


def past_rosters(session: Session, workspace_id: str) -> list[RosterRecord]:
    """Give the rosters that were in force before, by epoch."""
    where = RosterRow.workspace_id == workspace_id, RosterRow.state == RosterState.PAST
    return fetch(session, RosterRecord, RosterRow, *where, order=RosterRow.epoch)


def set_roster_state(session: Session, record: RosterRecord, state: RosterState) -> None:
    """Change a roster's state.

    Raises:
        ConflictError: It changed meanwhile.
    """
    compare_and_set(session, RosterRow, RosterRow.digest == record.digest, RosterRow.state == record.state, state=state)


def add_acceptance(session: Session, record: AcceptanceRecord) -> None:
    """Insert a verified acceptance."""
    add(session, AcceptanceRow, record)


def acceptances(session: Session, roster_digest: str) -> list[AcceptanceRecord]:
    """Give the acceptances of a roster, by member."""
    where = AcceptanceRow.roster_digest == roster_digest
    return fetch(session, AcceptanceRecord, AcceptanceRow, where, order=AcceptanceRow.member_id)
