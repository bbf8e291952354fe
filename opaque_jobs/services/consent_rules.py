"""What the stored signatures of a revision prove; every time from the envelopes themselves, never from a column."""

from sqlalchemy.orm import Session

from opaque_jobs.crypto.consent import consent_refusals
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.review import ApprovalBundle, Decision
from opaque_jobs.domain.workspace import Roster, parse_roster
from opaque_jobs.errors import NotFoundError
from opaque_jobs.store import reviews as rows
from opaque_jobs.store import workspaces as workspace_rows
from opaque_jobs.store.records import RevisionRecord

__all__ = ["bundle_of", "roster_of", "stands"]


def roster_of(session: Session, revision: RevisionRecord) -> Roster:
    """Give the roster of the epoch in which a revision was submitted.

    Raises:
        NotFoundError: The database has lost it.
    """
    found = workspace_rows.roster(session, revision.roster_digest)
    if found is None:
        raise NotFoundError("the member list of this revision is missing", hint="was the database restored in part?")
    return parse_roster(found.body)


def bundle_of(session: Session, revision: RevisionRecord) -> ApprovalBundle:
    """Put together what agent and brokers verify."""
    votes = sorted(rows.votes(session, revision.job_id, revision.revision), key=lambda vote: vote.member_id)
    withdrawals = rows.withdrawals(session, revision.job_id, revision.revision)
    return ApprovalBundle(
        v=1,
        roster=roster_of(session, revision).to_bytes().decode(),
        acceptances=tuple(each.envelope.decode() for each in workspace_rows.acceptances(session, revision.roster_digest)),
        approvals=tuple(vote.envelope.decode() for vote in votes if vote.decision is Decision.APPROVE),
        withdrawals=tuple(each.envelope.decode() for each in withdrawals),
        log=None,
    )


def stands(session: Session, revision: RevisionRecord) -> bool:
    """Tell whether the stored envelopes prove consent by the workspace's rule."""
    return not consent_refusals(bundle_of(session, revision), parse_job_spec(revision.spec))
