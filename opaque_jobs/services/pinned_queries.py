"""Pinned queries: what a member keeps in a workspace to use again. Only they see them, and only while they are a member."""

from typing import Final

from sqlalchemy.orm import Session

from opaque_jobs.domain.ids import check_name, check_text
from opaque_jobs.domain.job import Code
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import PinnedQueryView
from opaque_jobs.services.access import member_workspace
from opaque_jobs.services.context import Context
from opaque_jobs.store import events
from opaque_jobs.store import pinned_queries as rows
from opaque_jobs.store.records import PinnedQueryRecord

__all__ = ["MAX_PINNED", "MAX_PINNED_TEXT", "PinnedQueries"]

MAX_PINNED: Final = 100
"""Queries that one member may keep in one workspace."""
MAX_PINNED_TEXT: Final = 100_000
"""Characters of one query."""


class PinnedQueries:
    """Use cases about pinned queries. There is no way to ask for somebody else's."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def pin(self, *, actor: str, workspace_id: str, name: str, code: Code, replace: bool = False) -> PinnedQueryView:
        """Keep a query under a name.

        Args:
            actor: Whose it is.
            workspace_id: Where.
            name: 1-50 letters, digits, spaces, `_` or `-`; the actor's own in this workspace.
            code: The query.
            replace: Put it in the place of the one that has this name.

        Raises:
            ConflictError: The name is taken, or the actor keeps `MAX_PINNED` here already.
            InvalidInputError: The name is not valid, or the query is too long.
            NotFoundError: The actor is not a member of the workspace.
        """
        check_name(name, what="pinned query")
        check_text(code.text, what="query", limit=MAX_PINNED_TEXT)
        now = self._context.now()
        record = PinnedQueryRecord(
            member_id=actor, workspace_id=workspace_id, name=name, language=code.language, text=code.text, pinned_at=now
        )
        with self._context.store.write() as session:
            member_workspace(session, workspace_id, actor)
            kept = {each.name: each for each in rows.queries(session, actor, workspace_id)}
            if name in kept:
                if not replace:
                    raise ConflictError(
                        "you have a pinned query of that name here", hint="choose another name, or give --replace to 'query pin'"
                    )
                rows.remove(session, kept[name])
            elif len(kept) >= MAX_PINNED:
                raise ConflictError(
                    "you keep as many queries here as one may", hint="remove one with 'opaque-jobs query unpin'", limit=MAX_PINNED
                )
            rows.add_query(session, record)
            self._note(session, "pin", record)
        return _view(record)

    def unpin(self, *, actor: str, workspace_id: str, name: str) -> None:
        """Remove a query.

        Raises:
            NotFoundError: The actor has none by that name here, or is not a member of the workspace.
        """
        with self._context.store.write() as session:
            member_workspace(session, workspace_id, actor)
            record = rows.query(session, actor, workspace_id, name)
            rows.remove(session, record)
            self._note(session, "unpin", record)

    def show(self, *, actor: str, workspace_id: str, name: str) -> PinnedQueryView:
        """Give one of the actor's queries.

        Raises:
            NotFoundError: The actor has none by that name here, or is not a member of the workspace.
        """
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            return _view(rows.query(session, actor, workspace_id, name))

    def list(self, *, actor: str, workspace_id: str) -> list[PinnedQueryView]:
        """Give the actor's queries in a workspace, by name.

        Raises:
            NotFoundError: The actor is not a member of the workspace.
        """
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            return [_view(each) for each in rows.queries(session, actor, workspace_id)]

    def _note(self, session: Session, event: str, record: PinnedQueryRecord) -> None:
        now, actor = self._context.now(), record.member_id
        events.append(session, noun="pinned-query", subject_id=record.workspace_id, event=event, actor=actor, now=now)


def _view(record: PinnedQueryRecord) -> PinnedQueryView:
    return PinnedQueryView(
        workspace_id=record.workspace_id,
        name=record.name,
        code=Code(language=record.language, text=record.text),
        pinned_at=record.pinned_at,
    )
