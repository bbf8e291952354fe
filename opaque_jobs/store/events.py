"""The history of everything: who did what to which thing, when. Ids and words only; in the transaction of the change."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from opaque_jobs.store.records import EventRecord, add, fetch
from opaque_jobs.store.tables import EventRow

__all__ = ["append", "events_of"]


def append(
    session: Session,
    *,
    noun: str,
    subject_id: str,
    event: str,
    actor: str | None,
    now: datetime,
    **facts: str | int | bool | None,
) -> None:
    """Add one event.

    Args:
        session: The transaction of the change itself.
        noun: What kind of thing.
        subject_id: Which.
        event: What happened.
        actor: Member id; None for the system.
        now: When.
        **facts: Ids, digests and numbers.
    """
    kept: dict[str, Any] = dict(facts)
    add(session, EventRow, EventRecord(at=now, actor=actor, noun=noun, subject_id=subject_id, event=event, facts=kept))


def events_of(session: Session, subject_id: str) -> list[EventRecord]:
    """Give the events of one thing, oldest first."""
    return fetch(session, EventRecord, EventRow, EventRow.subject_id == subject_id, order=EventRow.seq)
