"""What members ask of their workspace's log: its newest checkpoint, its entries, and proofs about both."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy.orm import Session

from opaque_jobs.crypto.merkle import inclusion_path
from opaque_jobs.domain.log import LogEntry, parse_entry
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.services import log_book
from opaque_jobs.services.access import member_workspace
from opaque_jobs.services.context import Context
from opaque_jobs.store import log as rows

__all__ = ["KeptEntry", "LogHead", "Logs", "ProvenLeaf", "ShownEntry"]

_PAGE: Final = 1000
_KNOWN_NODES: Final = 1 << 12


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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEntry:
    """What the database holds of an entry, nothing of it believed.

    Args:
        seq: The index under which it is kept.
        filed: Kind, subject and statement under which it is found.
        body: Its bytes: the leaf.
        document: What somebody signed, if there is something.
        nodes: The stored nodes that it completed, by level.
    """

    seq: int
    filed: tuple[str, str, str | None]
    body: bytes
    document: bytes | None
    nodes: Mapping[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenLeaf:
    """An entry's exact bytes with the path from its leaf to the root of a tree; not verified yet."""

    seq: int
    body: bytes
    document: bytes | None
    path: tuple[bytes, ...]


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

    def kept(self, workspace_id: str, *, actor: str) -> Iterator[KeptEntry]:
        """Give what the database holds of all entries, in order, a page at a time. Raises as `entries`."""
        for first in itertools.count(step=_PAGE):
            with self._context.store.read() as session:
                member_workspace(session, workspace_id, actor)
                found = rows.entries(session, workspace_id, first=first, count=_PAGE)
                nodes = rows.nodes_ending_in(session, workspace_id, first=first, count=_PAGE)
            if not found:
                return
            for each in found:
                yield KeptEntry(
                    seq=each.seq,
                    filed=(each.kind.value, each.subject, each.statement),
                    body=each.body,
                    document=each.document,
                    nodes=nodes.get(each.seq, {}),
                )

    def proven(
        self, workspace_id: str, *, actor: str, size: int, first: int = 0, last: int | None = None
    ) -> Iterator[ProvenLeaf]:
        """Give entries from an index to before another with the paths that prove them in the tree of a size; all if left out.

        Raises:
            InvalidInputError: The log has no such entry or size.
            NotFoundError: No such workspace, or the actor may not know of it.
            TrustError: The stored tree is incomplete.
        """
        last = size if last is None else last
        if not 0 <= first <= last <= size:
            raise InvalidInputError("the log has no such entry", hint="see 'opaque-jobs log show'", size=size)
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            _check_size(session, workspace_id, size)
            # Neighbours share most of their paths.
            node = lru_cache(maxsize=_KNOWN_NODES)(rows.nodes(session, workspace_id))
            for start in range(first, last, _PAGE):
                for each in rows.entries(session, workspace_id, first=start, count=min(_PAGE, last - start)):
                    path = tuple(inclusion_path(each.seq, size, node))
                    yield ProvenLeaf(seq=each.seq, body=each.body, document=each.document, path=path)

    def consistency(self, workspace_id: str, *, actor: str, first: int, second: int) -> list[bytes]:
        """Give the path that proves that the tree of the second size continues that of the first.

        Raises:
            InvalidInputError: The log is not that long, or the second size is smaller.
            NotFoundError: No such workspace, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            member_workspace(session, workspace_id, actor)
            return log_book.consistency(session, workspace_id, first, second)


def _check_size(session: Session, workspace_id: str, size: int) -> None:
    if not 0 <= size <= rows.log(session, workspace_id).size:
        raise InvalidInputError("the log is not that long", hint="see 'opaque-jobs log checkpoint'", size=size)
