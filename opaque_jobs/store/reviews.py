"""Signed votes and withdrawals of consent."""

from sqlalchemy.orm import Session

from opaque_jobs.store import events
from opaque_jobs.store.records import VoteRecord, WithdrawalRecord, add, fetch
from opaque_jobs.store.tables import VoteRow, WithdrawalRow

__all__ = ["add_vote", "add_withdrawal", "votes", "withdrawals"]


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


def add_withdrawal(session: Session, record: WithdrawalRecord) -> None:
    """Insert a verified withdrawal."""
    add(session, WithdrawalRow, record)


def withdrawals(session: Session, job_id: str, revision: int) -> list[WithdrawalRecord]:
    """Give the withdrawals from a revision, by member."""
    where = (WithdrawalRow.job_id == job_id, WithdrawalRow.revision == revision)
    return fetch(session, WithdrawalRecord, WithdrawalRow, *where, order=WithdrawalRow.member_id)
