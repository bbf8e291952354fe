"""Votes as a member gives them: the exact document is read, checked to be the one asked about, and signed with the own key."""

from dataclasses import replace
from datetime import UTC, datetime

from opaque_jobs.cli.log_heads import verified_head
from opaque_jobs.cli.own_consent import remember
from opaque_jobs.cli.withdrawing import taken_back
from opaque_jobs.crypto.consent import consent_refusals, sign_vote
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import JobEvent, JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError
from opaque_jobs.services import Services
from opaque_jobs.services.views import JobView, ReviewView

__all__ = ["cancel_review", "cast_vote", "revise_job", "submit_job"]


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
    """Submit a draft with its author's own approval; everybody signs its deadline too.

    Raises:
        ConflictError: It is not a draft, or something that it depends on changed meanwhile.
        InvalidInputError: The draft is not complete, or there is neither a test run nor a reason for none.
    """
    spec = opened.jobs.spec_for_submission(job_id, actor=author.id)
    spec = replace(spec, review_until=None if deadline is None else deadline.astimezone(UTC).isoformat())
    opened.reviews.check_submission(spec, test_run_id=test_run_id, no_test_reason=no_test_reason)
    seen = verified_head(opened, author, spec.workspace_id).seen
    envelope = sign_vote(spec, author, signer, decision=Decision.APPROVE, comment=None, seen=seen, now=datetime.now(UTC))
    remember(opened.context.settings, author, [spec], withdrawal=None)
    view = opened.reviews.submit(
        job_id=job_id,
        spec=spec.to_bytes(),
        envelope=envelope,
        test_run_id=test_run_id,
        no_test_reason=no_test_reason,
    )
    _end_earlier_revisions(opened, author, signer, view)
    return view


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
        ConflictError: Not under review, voted already, the digest is another, or the signed deadline has passed.
        InvalidInputError: A rejection without comment.
        ConfigurationError: A broker that must learn of a rejection cannot be reached; the rejection is recorded all the same.
    """
    status = opened.reviews.status(job_id, actor=member.id)
    if digest(status.spec_bytes) != status.digest or expected_digest not in (None, status.digest):
        raise ConflictError("the job under review is not the one that you looked at", hint="look at it again, then vote")
    opened.reviews.check_vote(job_id, actor=member.id, decision=decision, comment=comment)
    spec, now = parse_job_spec(status.spec_bytes), datetime.now(UTC)
    if spec.review_over(now):
        raise ConflictError("the deadline of this review has passed", hint="its author can revise the job and submit it again")
    seen = verified_head(opened, member, spec.workspace_id).seen
    envelope = sign_vote(spec, member, signer, decision=decision, comment=comment, seen=seen, now=now)
    if decision is Decision.REJECT:
        with taken_back(opened, member, signer, [spec]) as (withdrawal,):
            return opened.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)
    remember(opened.context.settings, member, [spec], withdrawal=None)
    view = opened.reviews.vote(job_id=job_id, envelope=envelope, comment=comment)
    _end_earlier_revisions(opened, member, signer, view)
    return view


def cancel_review(opened: Services, author: MemberEntry, signer: Signer, job_id: str) -> ReviewView:
    """Take a job out of review, and the author's consent back with it: else a vote that comes later could complete it.

    Raises:
        ConflictError: It is neither under review nor rejected.
        DeniedError: Somebody else is its author.
        ConfigurationError: A broker cannot be reached; the rest is done all the same.
    """
    opened.jobs.check_event(job_id, JobEvent.CANCEL_REVIEW, actor=author.id)
    spec = parse_job_spec(opened.reviews.status(job_id, actor=author.id).spec_bytes)
    with taken_back(opened, author, signer, [spec]) as (withdrawal,):
        return opened.reviews.cancel_review(actor=author.id, job_id=job_id, withdrawal=withdrawal)


def revise_job(opened: Services, author: MemberEntry, signer: Signer, job_id: str) -> JobView:
    """Return a job to draft. The author's consent to a revision that is over is taken back; one that is accepted stays.

    Accepted is what votes prove to be so: a word in the database spares no revision.

    Raises:
        ConflictError: It is in a state that does not allow it.
        DeniedError: Somebody else is its author.
        ConfigurationError: A broker cannot be reached; the rest is done all the same.
    """
    opened.jobs.check_event(job_id, JobEvent.REVISE, actor=author.id)
    last = opened.jobs.show(job_id, actor=author.id).revisions[-1]
    spec = parse_job_spec(last.spec_bytes)
    if not consent_refusals(opened.reviews.bundle(job_id, last.revision), spec):
        return opened.jobs.revise(actor=author.id, job_id=job_id)
    with taken_back(opened, author, signer, [spec]) as (withdrawal,):
        opened.reviews.withdraw(job_id=job_id, envelope=withdrawal)
        return opened.jobs.revise(actor=author.id, job_id=job_id)


def _end_earlier_revisions(opened: Services, member: MemberEntry, signer: Signer, view: ReviewView) -> None:
    """Take consent to the revisions before an accepted one back: it takes their place, also where somebody writes otherwise."""
    if view.status is not JobStatus.ACCEPTED:
        return
    present = parse_job_spec(view.spec_bytes)
    before = [parse_job_spec(each.spec_bytes) for each in opened.jobs.show(view.job_id, actor=member.id).revisions]
    earlier = [each for each in before if each.revision < present.revision and each.epoch == present.epoch]
    if earlier:
        with taken_back(opened, member, signer, earlier) as envelopes:
            for envelope in envelopes:
                opened.reviews.withdraw(job_id=view.job_id, envelope=envelope)
