"""What members sign in a review: kept in its table and entered into the workspace's log, in one step."""

from datetime import datetime

from sqlalchemy.orm import Session

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.services import log_book
from opaque_jobs.services.context import Context
from opaque_jobs.store import reviews as rows
from opaque_jobs.store.records import RevisionRecord, VoteRecord, WithdrawalRecord

__all__ = ["keep_vote", "keep_withdrawal", "log_submission"]


def log_submission(context: Context, session: Session, revision: RevisionRecord, *, author: str, now: datetime) -> None:
    """Enter a submission."""
    reason = revision.no_test_reason
    log_book.append(
        context,
        session,
        _workspace(revision),
        EntryKind.SUBMISSION,
        revision.job_id,
        now=now,
        actor=author,
        revision=revision.revision,
        job_digest=revision.digest,
        test_run_id=revision.test_run_id,
        no_test_reason=None if reason is None else digest(reason.encode()),
    )


def keep_vote(context: Context, session: Session, revision: RevisionRecord, vote: VoteRecord) -> None:
    """Keep a verified vote."""
    rows.add_vote(session, vote)
    log_book.append(
        context,
        session,
        _workspace(revision),
        EntryKind.VOTE,
        vote.job_id,
        now=vote.voted_at,
        document=vote.envelope,
        actor=vote.member_id,
        decision=vote.decision.value,
        job_digest=revision.digest,
    )


def keep_withdrawal(context: Context, session: Session, revision: RevisionRecord, withdrawal: WithdrawalRecord) -> None:
    """Keep a verified withdrawal; the same one again changes nothing."""
    if withdrawal.envelope in {each.envelope for each in rows.withdrawals(session, withdrawal.job_id, withdrawal.revision)}:
        return
    rows.put_withdrawal(session, withdrawal)
    log_book.append(
        context,
        session,
        _workspace(revision),
        EntryKind.WITHDRAWAL,
        withdrawal.job_id,
        now=withdrawal.withdrawn_at,
        document=withdrawal.envelope,
        actor=withdrawal.member_id,
        job_digest=revision.digest,
    )


def _workspace(revision: RevisionRecord) -> str:
    return parse_job_spec(revision.spec).workspace_id
