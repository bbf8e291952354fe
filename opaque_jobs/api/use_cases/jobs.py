"""Jobs and drafts over the services."""

from typing import Any, Final

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import page
from opaque_jobs.api.use_cases.noun import UseCases, ordering
from opaque_jobs.domain.lifecycle import JobEvent, JobStatus
from opaque_jobs.protocol.drafts import JobDraft
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    JobView,
    RevisionDiff,
)

__all__ = ["JobsUseCases"]

_JOB_ORDERS: Final[dict[str, Any]] = {
    "created_at": lambda job: (job.created_at.isoformat(), job.id),
    "updated_at": lambda job: (job.updated_at.isoformat(), job.id),
    "name": lambda job: (job.draft.name, job.id),
}


class JobsUseCases(UseCases):
    """See `protocol.api.Jobs`."""

    def list(
        self,
        *,
        actor: Actor,
        workspace_id: str | None = None,
        status: tuple[JobStatus, ...] = (),
        author_id: str | None = None,
        archived: bool = False,
        sort: str = "-created_at",
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[JobView]:
        order, reverse = ordering(sort, _JOB_ORDERS)
        found = self._services.jobs.list(actor=actor.member_id, workspace_id=workspace_id, archived=archived)
        wanted = [each for each in found if (not status or each.status in status) and author_id in (None, each.author_id)]
        return page(wanted, key=order, cursor=cursor, limit=limit, reverse=reverse)

    def show(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.show(job_id, actor=actor.member_id)

    def create_draft(self, *, actor: Actor, workspace_id: str, draft: JobDraft) -> JobView:
        return self._services.jobs.create_draft(actor=actor.member_id, workspace_id=workspace_id, draft=draft)

    def edit(self, *, actor: Actor, job_id: str, draft: JobDraft, version: int) -> JobView:
        return self._services.jobs.edit(actor=actor.member_id, job_id=job_id, draft=draft, version=version)

    def spec_for_submission(self, *, actor: Actor, job_id: str) -> bytes:
        return self._services.jobs.spec_for_submission(job_id, actor=actor.member_id).to_bytes()

    def diff(self, *, actor: Actor, job_id: str, revision: int | None = None) -> RevisionDiff:
        return self._services.jobs.diff(job_id, actor=actor.member_id, revision=revision)

    def revise(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.revise(actor=actor.member_id, job_id=job_id)

    def archive(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.archive(job_id, actor=actor.member_id)

    def unarchive(self, *, actor: Actor, job_id: str) -> JobView:
        return self._services.jobs.unarchive(job_id, actor=actor.member_id)

    def delete(self, *, actor: Actor, job_id: str) -> None:
        self._services.jobs.delete(job_id, actor=actor.member_id)

    def check_event(self, *, actor: Actor, job_id: str, event: JobEvent) -> None:
        self._services.jobs.check_event(job_id, event, actor=actor.member_id)
