"""Votes as a member gives them: the exact document is read, checked to be the one asked about, and signed with the own key."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from opaque_jobs.client.drafts import is_own_draft
from opaque_jobs.client.log_heads import verified_head
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.session import Session
from opaque_jobs.client.signed_lists import check_not_taken_back, signed_list
from opaque_jobs.client.withdrawals import shown_revisions, taken_back, to_take_back
from opaque_jobs.crypto.consent import consent_refusals, sign_vote
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import JobEvent, JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, OpaqueJobsError
from opaque_jobs.protocol.views import JobView, ReviewView

__all__ = ["accepted_revisions", "cancel_review", "cast_vote", "check_meant", "revise_job", "submit_job"]


def submit_job(
    session: Session,
    author: MemberEntry,
    signer: Signer,
    job_id: str,
    *,
    test_run_id: str | None,
    no_test_reason: str | None = None,
    deadline: datetime | None = None,
    expected_digest: str | None = None,
) -> ReviewView:
    """Submit a draft with its author's own approval; everybody signs its deadline too.

    Args:
        session: The member's.
        author: Who wrote it.
        signer: Their key.
        job_id: The job.
        test_run_id: Its test run that reviewers see.
        no_test_reason: Why there is none.
        deadline: When the review expires.
        expected_digest: The job digest that the author has seen; None for a draft that this client wrote, and remembers.

    Raises:
        ConflictError: It is not a draft, not the one that the author wrote or has seen, or something that it depends on changed.
        InvalidInputError: The draft is not complete, or there is neither a test run nor a reason for none.
        TrustError: The member list in force is one that the author took back.
    """
    spec = parse_job_spec(session.jobs.spec_for_submission(job_id))
    check_meant(session, author, spec, expected_digest)
    spec = replace(spec, review_until=None if deadline is None else deadline.astimezone(UTC).isoformat())
    check_not_taken_back(session.settings, author, spec.roster_digest)
    session.reviews.check_submission(job_id, spec=spec.to_bytes(), test_run_id=test_run_id, no_test_reason=no_test_reason)
    seen = verified_head(session, author, spec.workspace_id).seen
    envelope = sign_vote(spec, author, signer, decision=Decision.APPROVE, comment=None, seen=seen, now=datetime.now(UTC))
    own_memory(session.settings, author).remember_consent([spec], withdrawal=None)
    view = session.reviews.submit(
        job_id=job_id,
        spec=spec.to_bytes(),
        envelope=envelope,
        test_run_id=test_run_id,
        no_test_reason=no_test_reason,
    )
    _end_earlier_revisions(session, author, signer, view, spec)
    return view


def check_meant(session: Session, author: MemberEntry, spec: JobSpec, expected_digest: str | None) -> None:
    """Check that a document is what its author wrote with this client, or what they have seen.

    Raises:
        ConflictError: It is neither.
    """
    if expected_digest is None:
        draft = session.jobs.show(spec.job_id).draft
        meant = is_own_draft(session.settings, author, spec, draft)
    else:
        meant = expected_digest == spec.digest
    if not meant or spec.author_id != author.id:
        raise ConflictError(
            "this draft is not what you wrote here, or not what you looked at",
            hint="read all of it ('opaque-jobs job submit' shows it); if it is what you mean, submit it with its --digest",
        )


def cast_vote(
    session: Session,
    member: MemberEntry,
    signer: Signer,
    job_id: str,
    *,
    decision: Decision,
    comment: str | None = None,
    expected_digest: str,
) -> ReviewView:
    """Vote on the revision under review.

    Args:
        session: The member's.
        member: Who votes.
        signer: Their key.
        job_id: The job.
        decision: Approve or reject.
        comment: Required for a rejection.
        expected_digest: The job digest that the member has seen, or typed: nothing else is signed.

    Raises:
        ConflictError: Not under review, voted already, the digest is another, or the signed deadline has passed.
        InvalidInputError: A rejection without comment.
        ConfigurationError: A broker that must learn of a rejection cannot be reached; the rejection is recorded all the same.
        TrustError: An approval under a member list that the member took back.
    """
    status = session.reviews.status(job_id)
    if not digest(status.spec_bytes) == status.digest == expected_digest:
        raise ConflictError("the job under review is not the one that you looked at", hint="look at it again, then vote")
    session.reviews.check_vote(job_id, decision=decision, comment=comment)
    spec, now = parse_job_spec(status.spec_bytes), datetime.now(UTC)
    if spec.review_over(now):
        raise ConflictError("the deadline of this review has passed", hint="its author can revise the job and submit it again")
    if decision is Decision.APPROVE:
        check_not_taken_back(session.settings, member, spec.roster_digest)
    seen = verified_head(session, member, spec.workspace_id).seen
    envelope = sign_vote(spec, member, signer, decision=decision, comment=comment, seen=seen, now=now)
    if decision is Decision.REJECT:
        with taken_back(session, member, signer, [spec]) as (withdrawal,):
            return session.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)
    own_memory(session.settings, member).remember_consent([spec], withdrawal=None)
    view = session.reviews.vote(job_id=job_id, envelope=envelope, comment=comment)
    _end_earlier_revisions(session, member, signer, view, spec)
    return view


def cancel_review(session: Session, author: MemberEntry, signer: Signer, job_id: str) -> ReviewView:
    """Take a job out of review, and the author's consent back with it: else a vote that comes later could complete it.

    Raises:
        ConflictError: It is neither under review nor rejected.
        DeniedError: Somebody else is its author.
        ConfigurationError: A broker cannot be reached; the rest is done all the same.
    """
    session.jobs.check_event(job_id, event=JobEvent.CANCEL_REVIEW)
    # What this author submitted last is what is under review, whichever document the database shows and calls so.
    own = [each for each in own_memory(session.settings, author).consents() if each.job.job_id == job_id and not each.withdrawal]
    shown = shown_revisions(session, job_id)
    ending = {each.digest for each in (*(each.job for each in own[-1:]), *shown[-1:])}
    jobs = to_take_back(session, author, job_id, staying=_accepted(session, author, job_id) - ending)
    if not jobs:
        raise ConflictError("nothing of this job that can be taken back is shown", hint="see 'opaque-jobs job show'")
    last = (shown or jobs)[-1]
    with taken_back(session, author, signer, jobs) as envelopes:
        withdrawals = dict(zip(jobs, envelopes, strict=True))
        view = session.reviews.cancel_review(job_id=job_id, withdrawal=withdrawals[last])
        _record(session, job_id, [withdrawals[each] for each in shown if each in withdrawals and each != last])
        return view


def revise_job(session: Session, author: MemberEntry, signer: Signer, job_id: str) -> JobView:
    """Return a job to draft. The author's consent to a revision that is over is taken back; one that is accepted stays.

    Accepted is what votes prove to be so: a word in the database spares no revision.

    Raises:
        ConflictError: It is in a state that does not allow it.
        DeniedError: Somebody else is its author.
        ConfigurationError: A broker cannot be reached; the rest is done all the same.
    """
    session.jobs.check_event(job_id, event=JobEvent.REVISE)
    jobs = to_take_back(session, author, job_id, staying=_accepted(session, author, job_id))
    if not jobs:
        return session.jobs.revise(job_id=job_id)
    shown = shown_revisions(session, job_id)
    with taken_back(session, author, signer, jobs) as envelopes:
        _record(session, job_id, [envelope for job, envelope in zip(jobs, envelopes, strict=True) if job in shown])
        return session.jobs.revise(job_id=job_id)


def _end_earlier_revisions(session: Session, member: MemberEntry, signer: Signer, view: ReviewView, spec: JobSpec) -> None:
    """Take consent to all other revisions back once one is accepted: it takes their place, also where somebody writes otherwise.

    Those are what this member's own client signed, and what the database shows of this epoch.
    """
    if view.status is not JobStatus.ACCEPTED:
        return
    shown = shown_revisions(session, spec.job_id, epoch=spec.epoch)
    jobs = to_take_back(session, member, spec.job_id, shown=shown, staying={spec.digest})
    if jobs:
        with taken_back(session, member, signer, jobs) as envelopes:
            _record(session, spec.job_id, [envelope for job, envelope in zip(jobs, envelopes, strict=True) if job in shown])


def _record(session: Session, job_id: str, envelopes: Iterable[bytes]) -> None:
    for envelope in envelopes:
        session.reviews.withdraw(job_id=job_id, envelope=envelope)


def accepted_revisions(session: Session, member: MemberEntry, job_id: str) -> Iterator[JobSpec]:
    """Give the revisions that votes prove to be accepted by a member list that this member signed, newest first.

    Raises:
        NotFoundError: The member may not know of the job.
    """
    for each in reversed(session.jobs.show(job_id).revisions):
        with suppress(OpaqueJobsError):
            spec, bundle = parse_job_spec(each.spec_bytes), session.reviews.bundle(job_id, each.revision)
            signed = [text.encode() for text in bundle.acceptances]
            signed_list(session.settings, member, bundle.roster.encode(), signed)
            if spec.job_id == job_id and not consent_refusals(bundle, spec):
                yield spec


def _accepted(session: Session, member: MemberEntry, job_id: str) -> set[str]:
    """Give the digest of the newest of them."""
    return {each.digest for each in itertools.islice(accepted_revisions(session, member, job_id), 1)}
