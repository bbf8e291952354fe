"""Transparency logs over the services."""

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import check_limit, next_after, position
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.documents import (
    LogEntryDocument,
    LogHeadDocument,
    ProvenEntryDocument,
)
from opaque_jobs.protocol.operations import Page

__all__ = ["LogsUseCases"]


class LogsUseCases(UseCases):
    """See `protocol.api.Logs`."""

    def head(self, *, actor: Actor, workspace_id: str) -> LogHeadDocument:
        found = self._services.logs.head(workspace_id, actor=actor.member_id)
        return LogHeadDocument(workspace_id=found.workspace_id, size=found.size, checkpoint=found.checkpoint)

    def entries(self, *, actor: Actor, workspace_id: str, cursor: str | None = None, limit: int = 100) -> Page[LogEntryDocument]:
        check_limit(limit)
        first = _first(cursor)
        found = self._services.logs.entries(workspace_id, actor=actor.member_id, first=first, count=limit + 1)
        items = [
            LogEntryDocument(seq=first + at, body=each.body, document=each.document) for at, each in enumerate(found[:limit])
        ]
        return Page(items=tuple(items), next=next_after((first + limit,)) if len(found) > limit else None)

    def proven(
        self, *, actor: Actor, workspace_id: str, size: int, cursor: str | None = None, limit: int = 100
    ) -> Page[ProvenEntryDocument]:
        check_limit(limit)
        first = _first(cursor)
        last = min(size, first + limit)
        found = self._services.logs.proven(workspace_id, actor=actor.member_id, size=size, first=first, last=last)
        items = [ProvenEntryDocument(seq=each.seq, body=each.body, document=each.document, path=each.path) for each in found]
        return Page(items=tuple(items), next=next_after((last,)) if last < size else None)

    def consistency(self, *, actor: Actor, workspace_id: str, first: int, second: int) -> tuple[bytes, ...]:
        return tuple(self._services.logs.consistency(workspace_id, actor=actor.member_id, first=first, second=second))


def _first(cursor: str | None) -> int:
    place = (0,) if cursor is None else position(cursor)
    if len(place) != 1 or type(place[0]) is not int or place[0] < 0:
        raise InvalidInputError("the cursor is none of this list", hint="start again without one")
    return place[0]
