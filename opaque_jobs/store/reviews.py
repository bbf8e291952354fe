"""Signed votes and withdrawals of consent."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from opaque_jobs.store import events
from opaque_jobs.store.records import VoteRecord, WithdrawalRecord, add, fetch
from opaque_jobs.store.tables import VoteRow, WithdrawalRow

__all__ = ["add_vote", "put_withdrawal", "votes", "withdrawals"]


def add_vote(session: Session, record: VoteRecord) -> None:
    """Insert a verified vote and write it into the history."""
    add(session, VoteRow, record)
    events.append(
        session,
        noun="revision",
        subject_id=record.job_id,
        event=f"vote-{record.decision.value}",
        actor=record.member_id,
        now=record.voted_at,
        revision=record.revision,
    )


def votes(session: Session, job_id: str, revision: int) -> list[VoteRecord]:
    """Give the votes on a revision, in order of arrival."""
    where = (VoteRow.job_id == job_id, VoteRow.revision == revision)
    return fetch(session, VoteRecord, VoteRow, *where, order=(VoteRow.voted_at, VoteRow.member_id))


def put_withdrawal(session: Session, record: WithdrawalRecord) -> None:
    """Keep a verified withdrawal, in place of what the row of this member says."""
    key = (record.job_id, record.revision, record.member_id)
    place = (WithdrawalRow.job_id, WithdrawalRow.revision, WithdrawalRow.member_id)
    session.execute(delete(WithdrawalRow).where(*(column == value for column, value in zip(place, key, strict=True))))
    add(session, WithdrawalRow, record)


def withdrawals(session: Session, job_id: str, revision: int) -> list[WithdrawalRecord]:
    """Give the withdrawals from a revision, by member."""
    where = (WithdrawalRow.job_id == job_id, WithdrawalRow.revision == revision)
    return fetch(session, WithdrawalRecord, WithdrawalRow, *where, order=WithdrawalRow.member_id)
