"""Votes as a member gives them: the exact document is read, checked to be the one asked about, and signed with the own key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from opaque_jobs.cli.brokers import push
from opaque_jobs.cli.log_heads import verified_head
from opaque_jobs.cli.own_consent import consents, remember
from opaque_jobs.cli.own_organisation import pinned_organisation
from opaque_jobs.crypto.consent import sign_vote, sign_withdrawal
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision, NamedJob
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, OpaqueJobsError
from opaque_jobs.services import Services
from opaque_jobs.services.views import JobView, ReviewView

__all__ = ["cancel_review", "cast_vote", "revise_job", "submit_job", "tell_withdrawals", "withdraw_consent"]


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
    remember(opened.context.settings, author, [spec], withdrawal=None)
    view = opened.reviews.submit(
        job_id=job_id,
        spec=spec.to_bytes(),
        envelope=envelope,
        test_run_id=test_run_id,
        no_test_reason=no_test_reason,
        deadline=deadline,
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
    if decision is Decision.REJECT:
        with _taken_back(opened, member, signer, [spec]) as (withdrawal,):
            return opened.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)
    remember(opened.context.settings, member, [spec], withdrawal=None)
    view = opened.reviews.vote(job_id=job_id, envelope=envelope, comment=comment)
    _end_earlier_revisions(opened, member, signer, view)
    return view


def cancel_review(opened: Services, author: MemberEntry, signer: Signer, job_id: str) -> ReviewView:
    """Take a job out of review, and the author's consent back with it: else a vote that comes later could complete it.

    Raises:
        ConflictError: It is neither under review nor rejected.
        ConfigurationError: A broker cannot be reached; the rest is done all the same.
    """
    spec = parse_job_spec(opened.reviews.status(job_id, actor=author.id).spec_bytes)
    with _taken_back(opened, author, signer, [spec]) as (withdrawal,):
        return opened.reviews.cancel_review(actor=author.id, job_id=job_id, withdrawal=withdrawal)


def revise_job(opened: Services, author: MemberEntry, signer: Signer, job_id: str) -> JobView:
    """Return a job to draft. The author's consent to a revision that is over is taken back; one that is accepted stays.

    Raises:
        ConflictError: It is in a state that does not allow it.
        ConfigurationError: A broker cannot be reached; the rest is done all the same.
    """
    before = opened.jobs.show(job_id, actor=author.id)
    view = opened.jobs.revise(actor=author.id, job_id=job_id)
    if before.status is not JobStatus.ACCEPTED:
        _end(opened, author, signer, [parse_job_spec(before.revisions[-1].spec_bytes)])
    return view


def withdraw_consent(opened: Services, member: MemberEntry, signer: Signer, job_id: str) -> ReviewView:
    """Withdraw consent to a job for good, to every revision of it, whatever state the database says that they are in.

    Raises:
        ConflictError: Nothing of this job was ever submitted, or all of it was withdrawn by this member.
        ConfigurationError: A broker cannot be reached; the withdrawal is recorded all the same.
    """
    named = [_named(parse_job_spec(each.spec_bytes)) for each in opened.jobs.show(job_id, actor=member.id).revisions]
    own = [each.job for each in consents(opened.context.settings, member) if each.job.job_id == job_id]
    if not named and not own:
        raise ConflictError("nothing of this job was ever submitted for review", hint="see 'opaque-jobs job show'")
    _end(opened, member, signer, list(dict.fromkeys([*own, *named])))
    return opened.reviews.status(job_id, actor=member.id)


def tell_withdrawals(opened: Services, member: MemberEntry, workspace_id: str) -> None:
    """Tell brokers the member list, and every withdrawal of it that the database or this member's own client knows.

    Raises:
        ConfigurationError: A broker cannot be reached; the others have been told.
        TrustError: One does not believe it; the others have been told.
    """
    own = [
        each.withdrawal.encode()
        for each in consents(opened.context.settings, member)
        if each.job.workspace_id == workspace_id and each.withdrawal is not None
    ]
    known = opened.workspaces.broker_push(workspace_id, actor=member.id)
    push(
        replace(known, withdrawals=tuple(dict.fromkeys([*own, *known.withdrawals]))),
        pinned_organisation(opened.context.settings, member),
    )


def _named(spec: JobSpec) -> NamedJob:
    return NamedJob(workspace_id=spec.workspace_id, job_id=spec.job_id, digest=spec.digest)


def _end_earlier_revisions(opened: Services, member: MemberEntry, signer: Signer, view: ReviewView) -> None:
    """Take consent to the revisions before an accepted one back: it takes their place, also where somebody writes otherwise."""
    if view.status is not JobStatus.ACCEPTED:
        return
    present = parse_job_spec(view.spec_bytes)
    before = [parse_job_spec(each.spec_bytes) for each in opened.jobs.show(view.job_id, actor=member.id).revisions]
    earlier = [each for each in before if each.revision < present.revision and each.epoch == present.epoch]
    if earlier:
        _end(opened, member, signer, earlier)


def _end(opened: Services, member: MemberEntry, signer: Signer, jobs: Sequence[JobSpec | NamedJob]) -> None:
    with _taken_back(opened, member, signer, jobs) as envelopes:
        for job, envelope in zip(jobs, envelopes, strict=True):
            opened.reviews.withdraw(job_id=job.job_id, envelope=envelope)


@contextmanager
def _taken_back(
    opened: Services, member: MemberEntry, signer: Signer, jobs: Sequence[JobSpec | NamedJob]
) -> Iterator[list[bytes]]:
    """Sign withdrawals, keep them, and tell every broker; then the body records them, also if a broker is away.

    Brokers come first: what decides is what they know, and the database may refuse to write, or be written by somebody else.

    Raises:
        ConfigurationError: A broker cannot be reached; the others have been told, and the body is done.
        TrustError: A broker does not believe it; likewise.
    """
    settings = opened.context.settings
    for job in jobs:
        remember(settings, member, [job], withdrawal=sign_withdrawal(job, member, signer, now=datetime.now(UTC)))
    kept = {each.job.digest: each.withdrawal or "" for each in consents(settings, member)}
    envelopes = [kept[job.digest].encode() for job in jobs]
    problem: OpaqueJobsError | None = None
    try:
        known = opened.workspaces.broker_push(jobs[0].workspace_id, actor=member.id)
        push(replace(known, withdrawals=tuple(envelopes)), pinned_organisation(settings, member))
    except OpaqueJobsError as error:
        problem = error
    yield envelopes
    if problem is not None:
        raise problem
