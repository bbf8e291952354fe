"""Pinned queries over the services."""

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import page
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.domain.job import Code
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    PinnedQueryView,
)

__all__ = ["QueriesUseCases"]


class QueriesUseCases(UseCases):
    """See `protocol.api.Queries`."""

    def list(self, *, actor: Actor, workspace_id: str, cursor: str | None = None, limit: int = 100) -> Page[PinnedQueryView]:
        found = self._services.queries.list(actor=actor.member_id, workspace_id=workspace_id)
        return page(found, key=lambda each: (each.name,), cursor=cursor, limit=limit)

    def show(self, *, actor: Actor, workspace_id: str, name: str) -> PinnedQueryView:
        return self._services.queries.show(actor=actor.member_id, workspace_id=workspace_id, name=name)

    def pin(self, *, actor: Actor, workspace_id: str, name: str, code: Code, replace: bool = False) -> PinnedQueryView:
        return self._services.queries.pin(actor=actor.member_id, workspace_id=workspace_id, name=name, code=code, replace=replace)

    def unpin(self, *, actor: Actor, workspace_id: str, name: str) -> None:
        self._services.queries.unpin(actor=actor.member_id, workspace_id=workspace_id, name=name)
