"""Votes as a member gives them: the exact document is read, checked to be the one asked about, and signed with the own key."""

from datetime import UTC, datetime

from opaque_jobs.cli.brokers import push
from opaque_jobs.cli.log_heads import verified_head
from opaque_jobs.cli.own_organisation import pinned_organisation
from opaque_jobs.crypto.consent import sign_vote, sign_withdrawal
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError
from opaque_jobs.services import Services
from opaque_jobs.services.views import ReviewView

__all__ = ["cast_vote", "submit_job", "withdraw_consent"]


def submit_job(
    opened: Services,
    author: MemberEntry,
    signer: Signer,
    job_id: str,
    *,
    test_run_id: str | None,
    no_test_reason: str | None = None,
    deadline: datetime | None = None,
) -> ReviewView:
    """Submit a draft with its author's own approval.

    Raises:
        ConflictError: It is not a draft, or something that it depends on changed meanwhile.
        InvalidInputError: The draft is not complete, or there is neither a test run nor a reason for none.
    """
    spec = opened.jobs.spec_for_submission(job_id, actor=author.id)
    opened.reviews.check_submission(spec, test_run_id=test_run_id, no_test_reason=no_test_reason, deadline=deadline)
    seen = verified_head(opened, author, spec.workspace_id).seen
    envelope = sign_vote(spec, author, signer, decision=Decision.APPROVE, comment=None, seen=seen, now=datetime.now(UTC))
    return opened.reviews.submit(
        job_id=job_id,
        spec=spec.to_bytes(),
        envelope=envelope,
        test_run_id=test_run_id,
        no_test_reason=no_test_reason,
        deadline=deadline,
    )


def cast_vote(
    opened: Services,
    member: MemberEntry,
    signer: Signer,
    job_id: str,
    *,
    decision: Decision,
    comment: str | None = None,
    expected_digest: str | None = None,
) -> ReviewView:
    """Vote on the revision under review.

    Args:
        opened: The services.
        member: Who votes.
        signer: Their key.
        job_id: The job.
        decision: Approve or reject.
        comment: Required for a rejection.
        expected_digest: The job digest that the member has seen; None takes the present one.

    Raises:
        ConflictError: Not under review, voted already, or the digest is another.
        InvalidInputError: A rejection without comment.
        ConfigurationError: A broker that must learn of a rejection cannot be reached; the rejection is recorded all the same.
    """
    status = opened.reviews.status(job_id, actor=member.id)
    if digest(status.spec_bytes) != status.digest or expected_digest not in (None, status.digest):
        raise ConflictError("the job under review is not the one that you looked at", hint="look at it again, then vote")
    opened.reviews.check_vote(job_id, actor=member.id, decision=decision, comment=comment)
    spec, now = parse_job_spec(status.spec_bytes), datetime.now(UTC)
    seen = verified_head(opened, member, spec.workspace_id).seen
    envelope = sign_vote(spec, member, signer, decision=decision, comment=comment, seen=seen, now=now)
    final = decision is Decision.REJECT and status.approval_rule is ApprovalRule.GROUPS
    withdrawal = sign_withdrawal(spec, member, signer, now=now) if final else None
    view = opened.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)
    if view.push is not None:
        push(view.push, pinned_organisation(opened.context.settings, member))
    return view


def withdraw_consent(opened: Services, member: MemberEntry, signer: Signer, job_id: str) -> ReviewView:
    """Withdraw consent to a job for good, also to a revision that stands beside a later one, and tell every broker at once.

    Raises:
        ConflictError: Nothing of this job is under review or accepted.
        ConfigurationError: A broker cannot be reached; the withdrawal is recorded all the same.
    """
    revisions = opened.jobs.show(job_id, actor=member.id).revisions
    standing = [each for each in revisions if each.status in (JobStatus.UNDER_REVIEW, JobStatus.ACCEPTED)]
    if not standing:
        raise ConflictError("no revision of this job is under review or accepted", hint="see 'opaque-jobs job show'")
    own = pinned_organisation(opened.context.settings, member)
    views = []
    for revision in standing:
        envelope = sign_withdrawal(parse_job_spec(revision.spec_bytes), member, signer, now=datetime.now(UTC))
        views.append(opened.reviews.withdraw(job_id=job_id, envelope=envelope))
    for view in views:
        if view.push is not None:
            push(view.push, own)
    return views[-1]
