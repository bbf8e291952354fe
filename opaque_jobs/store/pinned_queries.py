"""Queries that members keep for themselves, one set a member and workspace."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from opaque_jobs.errors import NotFoundError
from opaque_jobs.store.records import PinnedQueryRecord, Where, add, fetch, fetch_one
from opaque_jobs.store.tables import PinnedQueryRow

__all__ = ["add_query", "queries", "query", "remove"]


def _place(member_id: str, workspace_id: str, name: str | None = None) -> tuple[Where, ...]:
    place = (PinnedQueryRow.member_id == member_id, PinnedQueryRow.workspace_id == workspace_id)
    return place if name is None else (*place, PinnedQueryRow.name == name)


def add_query(session: Session, record: PinnedQueryRecord) -> None:
    """Insert a query; its name must be free."""
    add(session, PinnedQueryRow, record)


def queries(session: Session, member_id: str, workspace_id: str) -> list[PinnedQueryRecord]:
    """Give a member's queries in a workspace, by name."""
    return fetch(session, PinnedQueryRecord, PinnedQueryRow, *_place(member_id, workspace_id), order=PinnedQueryRow.name)


def query(session: Session, member_id: str, workspace_id: str, name: str) -> PinnedQueryRecord:
    """Give one query of a member.

    Raises:
        NotFoundError: None by that name.
    """
    found = fetch_one(session, PinnedQueryRecord, PinnedQueryRow, *_place(member_id, workspace_id, name))
    if found is None:
        raise NotFoundError("you have no pinned query of that name here", hint="list yours with 'opaque-jobs query list'")
    return found


def remove(session: Session, record: PinnedQueryRecord) -> None:
    """Remove a query."""
    session.execute(delete(PinnedQueryRow).where(*_place(record.member_id, record.workspace_id, record.name)))
