"""Reviews: submission, signed votes, acceptance by the workspace's rule, withdrawal, expiry."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from opaque_jobs.crypto.consent import verify_vote, verify_withdrawal
from opaque_jobs.crypto.signing import claimed_subject
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.ids import check_text
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import JOB, JobEvent, JobStatus, RunState
from opaque_jobs.domain.review import ApprovalBundle, Decision, demands
from opaque_jobs.domain.roles import Action
from opaque_jobs.domain.run import RunKind
from opaque_jobs.errors import ConflictError, InvalidInputError, TrustError
from opaque_jobs.protocol.views import NeededApprovals, ReviewView, VoteView
from opaque_jobs.services.access import access_to_job, roster_in_force
from opaque_jobs.services.consent_rules import bundle_of, roster_of, stands
from opaque_jobs.services.context import Context
from opaque_jobs.services.jobs import spec_of_draft
from opaque_jobs.services.review_log import keep_vote, keep_withdrawal, log_submission
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import reviews as rows
from opaque_jobs.store import runs as run_rows
from opaque_jobs.store.records import JobRecord, RevisionRecord, VoteRecord, WithdrawalRecord

__all__ = ["Reviews"]

_MAX_COMMENT = 2000
_MAX_REASON = 500


class Reviews:
    """Use cases about reviews. Votes are signed envelopes; each is verified before it is stored."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def submit(
        self,
        *,
        job_id: str,
        spec: bytes,
        envelope: bytes,
        test_run_id: str | None = None,
        no_test_reason: str | None = None,
    ) -> ReviewView:
        """Freeze the draft as the next revision and put it under vote; in a single-member workspace it is accepted at once.

        Args:
            job_id: The job, in `draft`.
            spec: `spec_for_submission(...).to_bytes()`, unchanged but for the deadline that it may name.
            envelope: The author's `consent.sign_vote(spec, ..., decision=APPROVE)`.
            test_run_id: A successful test run of exactly this spec.
            no_test_reason: Why there is none (1-500 characters); exactly one of the two is given.

        Raises:
            ConflictError: Not a draft, or the spec is not what the draft gives now.
            TrustError: The envelope is not the author's approval of exactly these bytes.
            InvalidInputError: No test run and no reason, or the test run is not a successful one of this spec.
        """
        now = self._context.now()
        proposed = parse_job_spec(spec)
        measurement = self._context.runtime().measurement
        _check_terms(no_test_reason, test_run_id, proposed, now)
        with self._context.store.write() as session:
            # 1. The author's document is what the draft gives, to the byte.
            access = access_to_job(session, job_id, proposed.author_id, Action.EDIT)
            draft = spec_of_draft(session, access, measurement)
            if replace(draft, review_until=proposed.review_until).to_bytes() != spec:
                raise ConflictError("the job has changed since this was signed", hint="look at it again, then submit again")
            # 2. The author has signed it.
            approval = verify_vote(envelope, proposed, access.roster)
            if approval.reviewer_id != access.job.author_id or approval.decision is not Decision.APPROVE:
                raise TrustError("a submission is signed by somebody else than its author", hint="sign it as its author")
            # 3. It was tested as it is, or the author says why not.
            if test_run_id is not None:
                _check_test(session, job_id, test_run_id, proposed)
            # 4. From here on it is frozen.
            revision = RevisionRecord(
                job_id=job_id,
                revision=proposed.revision,
                status=JobStatus.UNDER_REVIEW,
                version=1,
                digest=proposed.digest,
                spec=spec,
                roster_digest=proposed.roster_digest,
                submitted_at=now,
                decided_at=None,
                deadline=None if proposed.review_until is None else parse_datetime(proposed.review_until),
                test_run_id=test_run_id,
                no_test_reason=no_test_reason,
            )
            job_rows.add_revision(session, revision, [use.dataset_id for use in proposed.datasets])
            job_rows.apply_job_event(
                session,
                access.job,
                JobEvent.SUBMIT,
                actor=approval.reviewer_id,
                now=now,
                next_revision=proposed.revision + 1,
            )
            log_submission(self._context, session, revision, author=approval.reviewer_id, now=now)
            vote = _vote(revision, approval.reviewer_id, Decision.APPROVE, comment=None, envelope=envelope, now=now)
            keep_vote(self._context, session, revision, vote)
            _settle(session, revision, approval.reviewer_id, now)
            return _view(session, job_rows.revision(session, job_id, revision.revision))

    def check_submission(self, spec: JobSpec, *, test_run_id: str | None, no_test_reason: str | None) -> None:
        """Check, before anybody signs it, what `submit` demands of a document's test run and deadline. Raises as it does."""
        _check_terms(no_test_reason, test_run_id, spec, self._context.now())
        if test_run_id is not None:
            with self._context.store.read() as session:
                access_to_job(session, spec.job_id, spec.author_id, Action.EDIT)
                _check_test(session, spec.job_id, test_run_id, spec)

    def check_vote(self, job_id: str, *, actor: str, decision: Decision, comment: str | None) -> None:
        """Check, before anybody signs it, that `vote` would take a vote. Raises as it does."""
        self.expire_due()
        with self._context.store.read() as session:
            _, revision = _under_review(session, job_id)
            _check_may_vote(session, revision, actor, decision, comment)

    def vote(self, *, job_id: str, envelope: bytes, comment: str | None = None, withdrawal: bytes | None = None) -> ReviewView:
        """Take a signed vote: accepted when the workspace's rule is met, rejected at the first rejection.

        A rejection brings a withdrawal along: the vote is a row here, the withdrawal is what brokers remember.

        Args:
            job_id: The job, under review.
            envelope: `consent.sign_vote` by a member.
            comment: The text whose digest was signed; required for a rejection.
            withdrawal: `consent.sign_withdrawal` by the same member; for a rejection, only.

        Raises:
            ConflictError: Not under review, the deadline has passed, or this member has voted.
            TrustError: The vote is not by a member for exactly this revision and epoch.
            InvalidInputError: A rejection without comment, or another comment than was signed; a withdrawal is missing or too
                much.
        """
        now = self._context.now()
        self.expire_due(now)
        with self._context.store.write() as session:
            job, revision = _under_review(session, job_id)
            spec = parse_job_spec(revision.spec)
            roster = roster_of(session, revision)
            approval = verify_vote(envelope, spec, roster)
            member, decision = approval.reviewer_id, approval.decision
            _check_may_vote(session, revision, member, decision, comment)
            if approval.comment_digest != (None if comment is None else digest(comment.encode())):
                raise InvalidInputError("the comment is not the one that was signed", hint="sign the vote with this comment")
            if (withdrawal is not None) != (decision is Decision.REJECT):
                raise InvalidInputError(
                    "a rejection brings a withdrawal, and nothing else does", hint="reject with 'opaque-jobs review reject'"
                )
            vote = _vote(revision, member, decision, comment=comment, envelope=envelope, now=now)
            keep_vote(self._context, session, revision, vote)
            if withdrawal is not None:
                self._keep_withdrawal(session, job, revision, withdrawal, by=member)
            if decision is Decision.REJECT:
                job_rows.apply_revision_event(session, revision, JobEvent.REJECT, actor=member, now=now)
                job_rows.apply_job_event(session, job, JobEvent.REJECT, actor=member, now=now)
            else:
                _settle(session, revision, member, now)
            return _view(session, job_rows.revision(session, job_id, revision.revision))

    def cancel_review(self, *, actor: str, job_id: str, withdrawal: bytes) -> ReviewView:
        """Return a job that is under review or rejected to draft (author only).

        Args:
            actor: The author.
            job_id: The job.
            withdrawal: `consent.sign_withdrawal` by the author, from the revision that was under review.

        Raises:
            ConflictError: It is neither.
            DeniedError: Not the author.
            TrustError: The withdrawal does not hold.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            access = access_to_job(session, job_id, actor, Action.EDIT)
            job_rows.apply_job_event(session, access.job, JobEvent.CANCEL_REVIEW, actor=actor, now=now)
            revision = job_rows.revisions(session, job_id)[-1]
            self._keep_withdrawal(session, access.job, revision, withdrawal, by=actor)
            if revision.status is JobStatus.UNDER_REVIEW:
                job_rows.apply_revision_event(session, revision, JobEvent.CANCEL_REVIEW, actor=actor, now=now)
            return _view(session, job_rows.revision(session, job_id, revision.revision))

    def withdraw(self, *, job_id: str, envelope: bytes) -> ReviewView:
        """Take a signed withdrawal of any revision, whatever became of it: a status is a word in a table and denies nobody.

        Raises:
            TrustError: The withdrawal does not hold, or is for no revision of this job.
        """
        now = self._context.now()
        self.expire_due(now)
        with self._context.store.write() as session:
            job, wanted = job_rows.job(session, job_id), claimed_subject(envelope)
            revision = next((each for each in job_rows.revisions(session, job_id) if each.digest == wanted), None)
            if revision is None:
                raise TrustError("a withdrawal is for no revision of this job", hint="see 'opaque-jobs job show'")
            member = self._keep_withdrawal(session, job, revision, envelope)
            if JobEvent.WITHDRAW in JOB.events(revision.status):
                if job.status is revision.status:
                    job_rows.apply_job_event(session, job, JobEvent.WITHDRAW, actor=member, now=now)
                job_rows.apply_revision_event(session, revision, JobEvent.WITHDRAW, actor=member, now=now)
            return _view(session, job_rows.revision(session, job_id, revision.revision))

    def _keep_withdrawal(
        self, session: Session, job: JobRecord, revision: RevisionRecord, envelope: bytes, *, by: str | None = None
    ) -> str:
        """Verify a withdrawal as brokers do, by the present members, and keep and log it; gives who made it."""
        roster = roster_in_force(session, job.workspace_id)
        if roster is None:
            raise TrustError("no member list of the workspace is in force", hint="see 'opaque-jobs workspace show'")
        member = verify_withdrawal(envelope, job_digest=revision.digest, roster=roster).reviewer_id
        if by not in (None, member):
            raise TrustError("a withdrawal is somebody else's", hint="sign it with your own key")
        access_to_job(session, job.id, member, Action.WITHDRAW)
        record = WithdrawalRecord(
            job_id=job.id, revision=revision.revision, member_id=member, envelope=envelope, withdrawn_at=self._context.now()
        )
        keep_withdrawal(self._context, session, revision, record)
        return member

    def expire_due(self, now: datetime | None = None) -> list[str]:
        """Expire the reviews whose deadline has passed; gives their job ids."""
        moment = now or self._context.now()
        with self._context.store.read() as session:
            if not job_rows.overdue(session, moment):
                return []
        with self._context.store.write() as session:
            overdue = job_rows.overdue(session, moment)
            for revision in overdue:
                job_rows.apply_revision_event(session, revision, JobEvent.EXPIRE, actor=None, now=moment)
                job_rows.apply_job_event(session, job_rows.job(session, revision.job_id), JobEvent.EXPIRE, actor=None, now=moment)
        return [revision.job_id for revision in overdue]

    def status(self, job_id: str, *, actor: str, revision: int | None = None) -> ReviewView:
        """Give the review of a revision (the latest by default) to a member of the workspace.

        Raises:
            ConflictError: The job was never submitted.
            NotFoundError: No such job or revision, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            access = access_to_job(session, job_id, actor)
            number = access.job.next_revision - 1 if revision is None else revision
            if number == 0:
                raise ConflictError(
                    "the job has not been submitted for review yet", hint="its author does so with 'opaque-jobs job submit'"
                )
            return _view(session, job_rows.revision(session, job_id, number))

    def bundle(self, job_id: str, revision: int) -> ApprovalBundle:
        """Give everything that proves consent to a revision: what agent and brokers verify.

        Raises:
            NotFoundError: No such revision.
        """
        with self._context.store.read() as session:
            return bundle_of(session, job_rows.revision(session, job_id, revision))


def _check_terms(reason: str | None, test_run_id: str | None, spec: JobSpec, now: datetime) -> None:
    if (reason is None) == (test_run_id is None) or (reason is not None and not reason.strip()):
        raise InvalidInputError(
            "a submission needs a successful test run, or the reason why there is none",
            hint="test it with 'opaque-jobs job test', or give --no-test REASON",
        )
    check_text(reason or "", what="reason", limit=_MAX_REASON)
    if spec.review_over(now):
        raise InvalidInputError("the deadline is not in the future", hint="write it as 2026-12-31T00:00:00+00:00")


def _check_test(session: Session, job_id: str, test_run_id: str, spec: JobSpec) -> None:
    run = run_rows.run(session, test_run_id)
    facts = (run.job_id, run.kind, run.state, run.job_digest)
    tested = replace(spec, review_until=None).digest  # a draft is tested before its author says how long the review lasts
    if facts != (job_id, RunKind.TEST, RunState.SUCCEEDED, tested):
        raise InvalidInputError(
            "the test run is not a successful one of exactly this revision", hint="test the job as it is now", run_id=test_run_id
        )


def _check_may_vote(session: Session, revision: RevisionRecord, member: str, decision: Decision, comment: str | None) -> None:
    access_to_job(session, revision.job_id, member, Action.VOTE)
    if member in {vote.member_id for vote in rows.votes(session, revision.job_id, revision.revision)}:
        raise ConflictError(
            "you have voted on this revision already", hint="'opaque-jobs consent withdraw' takes consent back at any time"
        )
    check_text(comment or "", what="comment", limit=_MAX_COMMENT)
    if decision is Decision.REJECT and not (comment or "").strip():
        raise InvalidInputError("a rejection needs a comment", hint="say what should change")


def _vote(
    revision: RevisionRecord, member: str, decision: Decision, *, comment: str | None, envelope: bytes, now: datetime
) -> VoteRecord:
    return VoteRecord(
        job_id=revision.job_id,
        revision=revision.revision,
        member_id=member,
        decision=decision,
        comment=comment,
        envelope=envelope,
        voted_at=now,
    )


def _under_review(session: Session, job_id: str) -> tuple[JobRecord, RevisionRecord]:
    job = job_rows.job(session, job_id)
    revisions = job_rows.revisions(session, job_id)
    if job.status is not JobStatus.UNDER_REVIEW or revisions[-1].status is not JobStatus.UNDER_REVIEW:
        raise ConflictError("the job is not under review", hint="see 'opaque-jobs job show'", status=job.status.value)
    return job, revisions[-1]


def _settle(session: Session, revision: RevisionRecord, actor: str, now: datetime) -> None:
    """Accept the revision if its envelopes prove consent; the one accepted before gives way."""
    if not stands(session, revision):
        return
    before = job_rows.accepted_revision(session, revision.job_id)
    if before is not None:
        job_rows.apply_revision_event(session, before, JobEvent.SUPERSEDE, actor=None, now=now)
    job_rows.apply_revision_event(session, revision, JobEvent.ACCEPT, actor=actor, now=now)
    job_rows.apply_job_event(session, job_rows.job(session, revision.job_id), JobEvent.ACCEPT, actor=actor, now=now)


def _view(session: Session, revision: RevisionRecord) -> ReviewView:
    votes = rows.votes(session, revision.job_id, revision.revision)
    roster = roster_of(session, revision)
    voted = {vote.member_id for vote in votes}
    approving = frozenset(vote.member_id for vote in votes if vote.decision is Decision.APPROVE)
    needed = tuple(
        NeededApprovals(
            name=each.name,
            missing=each.missing(approving),
            member_ids=tuple(member.id for member in roster.members if member.id in each.member_ids - voted),
        )
        for each in demands(roster, parse_job_spec(revision.spec))
        if each.missing(approving)
    )
    wanted = {member_id for each in needed for member_id in each.member_ids}
    return ReviewView(
        job_id=revision.job_id,
        revision=revision.revision,
        status=revision.status,
        digest=revision.digest,
        spec_bytes=revision.spec,
        votes=tuple(
            VoteView(
                member_id=vote.member_id,
                decision=vote.decision,
                comment=vote.comment,
                voted_at=vote.voted_at,
                envelope=vote.envelope,
            )
            for vote in votes
        ),
        approval_rule=roster.approval_rule,
        still_needed=needed,
        waiting_for=tuple(member.id for member in roster.members if member.id in wanted),
        deadline=revision.deadline,
        test_run_id=revision.test_run_id,
        no_test_reason=revision.no_test_reason,
    )
