"""Reviews over the services. What somebody signed is verified there; here, that it is the asker who brings it."""

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.review import ApprovalBundle, Decision
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import DeniedError, InvalidInputError
from opaque_jobs.protocol.views import (
    ReviewView,
)

__all__ = ["ReviewsUseCases"]


class ReviewsUseCases(UseCases):
    """See `protocol.api.Reviews`."""

    def status(self, *, actor: Actor, job_id: str, revision: int | None = None) -> ReviewView:
        return self._services.reviews.status(job_id, actor=actor.member_id, revision=revision)

    def bundle(self, *, actor: Actor, job_id: str, revision: int) -> ApprovalBundle:
        self._services.jobs.show(job_id, actor=actor.member_id)
        return self._services.reviews.bundle(job_id, revision)

    def submit(
        self,
        *,
        actor: Actor,
        job_id: str,
        spec: bytes,
        envelope: bytes,
        test_run_id: str | None = None,
        no_test_reason: str | None = None,
    ) -> ReviewView:
        self._authored(actor, job_id, spec)
        return self._services.reviews.submit(
            job_id=job_id, spec=spec, envelope=envelope, test_run_id=test_run_id, no_test_reason=no_test_reason
        )

    def check_submission(
        self, *, actor: Actor, job_id: str, spec: bytes, test_run_id: str | None = None, no_test_reason: str | None = None
    ) -> None:
        document = self._authored(actor, job_id, spec)
        self._services.reviews.check_submission(document, test_run_id=test_run_id, no_test_reason=no_test_reason)

    def _authored(self, actor: Actor, job_id: str, spec: bytes) -> JobSpec:
        """Return a job document whose author, of this very job, is who asks.

        Raises:
            DeniedError: Somebody else's.
            InvalidInputError: It is another job's document, or none.
            NotFoundError: No such job, or the asker may not know of it.
        """
        self._services.jobs.show(job_id, actor=actor.member_id)
        document = parse_job_spec(spec)
        if document.author_id != actor.member_id:
            raise DeniedError("only its author submits a job", hint="ask its author")
        if document.job_id != job_id:
            raise InvalidInputError("the document is another job's", hint="name the job that it is of")
        return document

    def vote(
        self,
        *,
        actor: Actor,
        job_id: str,
        envelope: bytes,
        comment: str | None = None,
        withdrawal: bytes | None = None,
    ) -> ReviewView:
        for each in (envelope, *([withdrawal] if withdrawal is not None else [])):
            self._check_own(actor, each, self._members(actor, job_id))
        return self._services.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)

    def check_vote(self, *, actor: Actor, job_id: str, decision: Decision, comment: str | None = None) -> None:
        self._services.jobs.show(job_id, actor=actor.member_id)
        self._services.reviews.check_vote(job_id, actor=actor.member_id, decision=decision, comment=comment)

    def cancel_review(self, *, actor: Actor, job_id: str, withdrawal: bytes) -> ReviewView:
        return self._services.reviews.cancel_review(actor=actor.member_id, job_id=job_id, withdrawal=withdrawal)

    def withdraw(self, *, actor: Actor, job_id: str, envelope: bytes) -> ReviewView:
        self._check_own(actor, envelope, self._members(actor, job_id))
        return self._services.reviews.withdraw(job_id=job_id, envelope=envelope)

    def _members(self, actor: Actor, job_id: str) -> tuple[MemberEntry, ...]:
        job = self._services.jobs.show(job_id, actor=actor.member_id)
        roster = self._services.workspaces.show(job.workspace_id, actor=actor.member_id).roster
        return roster.members if roster else ()
