"""The logs of workspaces: entries in order, and the nodes of their trees, so that appending and proving stay fast."""

from collections.abc import Sequence

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from opaque_jobs.crypto.merkle import EMPTY, Frontier, Node, leaf_hash
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import ConflictError, NotFoundError, TrustError
from opaque_jobs.store.records import LogEntryRecord, LogNodeRecord, LogRecord, add, compare_and_set, fetch, fetch_one
from opaque_jobs.store.tables import LogEntryRow, LogNodeRow, LogRow, LogSignerRow

__all__ = [
    "append",
    "entries",
    "entries_about",
    "entries_of_statements",
    "log",
    "nodes",
    "nodes_ending_in",
    "set_checkpoint",
    "set_signer",
    "signer",
    "start",
    "workspaces_with",
]


def signer(session: Session) -> str | None:
    """Give the public key with which logs of this installation sign; None before the first."""
    found: str | None = session.scalar(select(LogSignerRow.public_key))
    return found


def set_signer(session: Session, public_key: str) -> None:
    """Set the installation's log key, once."""
    session.add(LogSignerRow(public_key=public_key))
    session.flush()


def start(session: Session, workspace_id: str) -> None:
    """Begin a workspace's log."""
    add(session, LogRow, LogRecord(workspace_id=workspace_id, size=0, frontier=b"", checkpoint=None))


def log(session: Session, workspace_id: str) -> LogRecord:
    """Give a workspace's log.

    Raises:
        NotFoundError: There is none.
    """
    found = fetch_one(session, LogRecord, LogRow, LogRow.workspace_id == workspace_id)
    if found is None:
        raise NotFoundError("the workspace has no log", hint="was the database restored in part?")
    return found


def append(session: Session, entry: LogEntryRecord) -> Frontier:
    """Append an entry and give the tree with it.

    Raises:
        ConflictError: It is not the next one, or another was appended meanwhile.
        TrustError: The stored tree is not consistent.
    """
    before = log(session, entry.workspace_id)
    tree = Frontier.parse(before.size, before.frontier) if before.size else EMPTY
    if entry.seq != tree.size:
        raise ConflictError("the log has grown meanwhile", hint="repeat the command")
    made: list[LogNodeRecord] = []

    def keep(level: int, position: int, node: bytes) -> None:
        made.append(LogNodeRecord(workspace_id=entry.workspace_id, level=level, position=position, hash=node))

    after = tree.append(leaf_hash(entry.body), keep)
    add(session, LogEntryRow, entry)
    add(session, LogNodeRow, *made)
    same = (LogRow.workspace_id == entry.workspace_id, LogRow.size == before.size)
    compare_and_set(session, LogRow, *same, size=after.size, frontier=after.to_bytes())
    return after


def set_checkpoint(session: Session, workspace_id: str, note: str) -> None:
    """Keep the newest signed checkpoint."""
    session.execute(update(LogRow).where(LogRow.workspace_id == workspace_id).values(checkpoint=note))


def entries(session: Session, workspace_id: str, *, first: int, count: int) -> list[LogEntryRecord]:
    """Give entries from an index on, in order."""
    where = (LogEntryRow.workspace_id == workspace_id, LogEntryRow.seq >= first, LogEntryRow.seq < first + count)
    return fetch(session, LogEntryRecord, LogEntryRow, *where, order=LogEntryRow.seq)


def entries_of_statements(
    session: Session, workspace_id: str, kind: EntryKind, statements: Sequence[str]
) -> list[LogEntryRecord]:
    """Give the entries of a kind that name one of these digests, in order."""
    where = (LogEntryRow.workspace_id == workspace_id, LogEntryRow.kind == kind, LogEntryRow.statement.in_(statements))
    return fetch(session, LogEntryRecord, LogEntryRow, *where, order=LogEntryRow.seq)


def entries_about(session: Session, workspace_id: str, kind: EntryKind, subject: str) -> list[LogEntryRecord]:
    """Give the entries of a kind about one thing, in order."""
    where = (LogEntryRow.workspace_id == workspace_id, LogEntryRow.kind == kind, LogEntryRow.subject == subject)
    return fetch(session, LogEntryRecord, LogEntryRow, *where, order=LogEntryRow.seq)


def workspaces_with(session: Session, kind: EntryKind, subject: str) -> list[str]:
    """Return the ids of the workspaces in whose logs there is an entry of a kind about one thing, sorted."""
    where = (LogEntryRow.kind == kind, LogEntryRow.subject == subject)
    found = session.scalars(select(LogEntryRow.workspace_id).where(*where).distinct().order_by(LogEntryRow.workspace_id))
    return list(found)


def nodes(session: Session, workspace_id: str) -> Node:
    """Give the way to a log's stored nodes.

    Raises (when called):
        TrustError: The node is missing.
    """

    def node(level: int, position: int) -> bytes:
        where = (LogNodeRow.workspace_id == workspace_id, LogNodeRow.level == level, LogNodeRow.position == position)
        found: bytes | None = session.scalar(select(LogNodeRow.hash).where(*where))
        if found is None:
            raise TrustError("the log's tree is incomplete", hint="was the database changed?")
        return found

    return node


def nodes_ending_in(session: Session, workspace_id: str, *, first: int, count: int) -> dict[int, dict[int, bytes]]:
    """Give the stored nodes that entries of a range completed: index of the entry -> level -> hash."""
    last = first + count
    levels = [
        and_(LogNodeRow.level == level, LogNodeRow.position >= first >> level, LogNodeRow.position < last >> level)
        for level in range(last.bit_length())
    ]
    found: dict[int, dict[int, bytes]] = {}
    for node in fetch(session, LogNodeRecord, LogNodeRow, LogNodeRow.workspace_id == workspace_id, or_(*levels)):
        found.setdefault((node.position + 1 << node.level) - 1, {})[node.level] = node.hash
    return found
