"""Answers to changes that were asked for under an idempotency key, kept for a day."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update

from opaque_jobs.errors import ConflictError
from opaque_jobs.services.context import Context
from opaque_jobs.store.tables import AnswerRow

__all__ = ["KEPT", "KeptAnswers"]

KEPT: Final = timedelta(days=1)
"""How long a key stands for its first request."""
_CARRIED_OUT_IN: Final = timedelta(minutes=10)
"""A request that was not answered by then was broken off: its process is gone."""

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


class KeptAnswers:
    """See `api.idempotency.Answers`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, owner: str, key: str, asked: str, *, now: datetime) -> Answer | None:
        """Claim a key for what is asked; give the answer if it was answered before.

        Raises:
            ConflictError: The key was used for something else, or the first request is not answered yet.
        """
        with self._context.store.write() as session:
            session.execute(delete(AnswerRow).where(AnswerRow.asked_at < now - KEPT))
            stale = (AnswerRow.status.is_(None), AnswerRow.asked_at < now - _CARRIED_OUT_IN)
            session.execute(delete(AnswerRow).where(*stale))
            known = session.scalar(select(AnswerRow).where(AnswerRow.owner == owner, AnswerRow.key == key))
            if known is None:
                session.add(AnswerRow(owner=owner, key=key, asked=asked, status=None, headers={}, body=b"", asked_at=now))
                return None
            if known.asked != asked:
                raise ConflictError("this idempotency key was used for something else", hint="use a new one for each change")
            if known.status is None:
                raise ConflictError("the first request under this idempotency key goes on still", hint="ask again later")
            return known.status, {name: str(value) for name, value in known.headers.items()}, known.body

    def finish(self, owner: str, key: str, answer: Answer | None) -> None:
        """Keep the answer; None gives the key free again: nothing was done."""
        place = (AnswerRow.owner == owner, AnswerRow.key == key)
        with self._context.store.write() as session:
            if answer is None:
                session.execute(delete(AnswerRow).where(*place))
                return
            status, headers, body = answer
            session.execute(update(AnswerRow).where(*place).values(status=status, headers=headers, body=body))
