"""What members ask of their workspace's log: its newest checkpoint, its entries, and proofs about both."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from opaque_jobs.crypto.merkle import consistency_path, inclusion_path
from opaque_jobs.domain.log import LogEntry, parse_entry
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.services import log_book
from opaque_jobs.services.access import member_workspace
from opaque_jobs.services.context import Context
from opaque_jobs.store import log as rows

__all__ = ["LogHead", "Logs", "ShownEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """The newest signed state of a log.

    Args:
        workspace_id: Whose log.
        size: Entries in it, signed or not yet.
        checkpoint: Newest signed note; None before the first.
        log_key: Public key (base64) with which it signs, from the member list in force.
    """

    workspace_id: str
    size: int
    checkpoint: str | None
    log_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEntry:
    """An entry as it is kept.

    Args:
        entry: The entry.
        body: Its exact bytes: the leaf.
        document: What somebody signed, if it names something.
    """

    entry: LogEntry
    body: bytes
    document: bytes | None


class Logs:
    """Use cases about logs. All are for members of the workspace."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def head(self, workspace_id: str, *, actor: str) -> LogHead:
        """Give the newest state; signed now if the log's key is on this machine and something is not signed yet.

        Raises:
            NotFoundError: No such workspace, or the actor may not know of it.
        """
        with self._context.store.write() as session:
            _, roster = member_workspace(session, workspace_id, actor)
            note = log_book.sign_newest(self._context, session, workspace_id)
            size = rows.log(session, workspace_id).size
        return LogHead(workspace_id=workspace_id, size=size, checkpoint=note, log_key=roster.log_key)

    def entries(self, workspace_id: str, *, actor: str, first: int = 0, count: int = 1000) -> list[ShownEntry]:
        """Give entries from an index on, in order.

        Raises:
            NotFoundError: No such workspace, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            found = rows.entries(session, workspace_id, first=first, count=count)
        return [ShownEntry(entry=parse_entry(each.body), body=each.body, document=each.document) for each in found]

    def inclusion(self, workspace_id: str, *, actor: str, seq: int, size: int) -> list[bytes]:
        """Give the path that proves an entry in the tree of a size.

        Raises:
            InvalidInputError: The log has no such entry or size.
            NotFoundError: No such workspace, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            _check_size(session, workspace_id, size)
            if not 0 <= seq < size:
                raise InvalidInputError("the log has no such entry", hint="see 'opaque-jobs log show'", size=size)
            return inclusion_path(seq, size, rows.nodes(session, workspace_id))

    def consistency(self, workspace_id: str, *, actor: str, first: int, second: int) -> list[bytes]:
        """Give the path that proves that the tree of the second size continues that of the first.

        Raises:
            InvalidInputError: The log is not that long.
            NotFoundError: No such workspace, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            _check_size(session, workspace_id, second)
            if not 0 <= first <= second:
                raise InvalidInputError("a log does not shrink", hint="give the smaller size first")
            return consistency_path(first, second, rows.nodes(session, workspace_id))


def _check_size(session: Session, workspace_id: str, size: int) -> None:
    if not 0 <= size <= rows.log(session, workspace_id).size:
        raise InvalidInputError("the log is not that long", hint="see 'opaque-jobs log checkpoint'", size=size)
