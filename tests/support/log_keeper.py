"""A workspace's log in memory, kept by somebody honest: what brokers and agents are shown in tests without a database."""

from typing import Any

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.merkle import EMPTY, consistency_path, inclusion_path, leaf_hash, root_at
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import EntryKind, LogEntry, LoggedEntry, LogPage, LogProof, ProvenEntry


class LogKeeper:
    """Appends, proves and pages.

    Args:
        workspace_id: Whose log.
        key: Signs its checkpoints.
        at: Time of every entry.
    """

    def __init__(self, workspace_id: str, key: SigningKey, *, at: str = "2026-03-01T09:00:00+00:00") -> None:
        self.workspace_id, self.key, self.at = workspace_id, key, at
        self.logged: list[LoggedEntry] = []
        self.tree = EMPTY
        self._nodes: dict[tuple[int, int], bytes] = {}

    def append(self, kind: EntryKind, subject: str, document: bytes | None = None, **facts: Any) -> int:
        """Append an entry; gives its index."""
        entry = LogEntry(
            v=1,
            workspace_id=self.workspace_id,
            seq=self.tree.size,
            at=self.at,
            kind=kind,
            subject=subject,
            facts=facts,
            statement=None if document is None else digest(document),
        )
        self.logged.append(LoggedEntry(entry=entry, document=None if document is None else document.decode()))
        self.tree = self.tree.append(leaf_hash(entry.to_bytes()), self._keep)
        return entry.seq

    def take(self, logged: LoggedEntry) -> None:
        """Append an entry as it stands in another log."""
        self.logged.append(logged)
        self.tree = self.tree.append(leaf_hash(logged.entry.to_bytes()), self._keep)

    def once(self, kind: EntryKind, subject: str, document: bytes) -> None:
        """Append what is not in it yet."""
        if digest(document) not in {each.entry.statement for each in self.logged}:
            self.append(kind, subject, document)

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = self.tree.size if size is None else size
        return Checkpoint(origin=log_origin(self.workspace_id), size=size, root=root_at(size, self.node))

    def note(self, size: int | None = None) -> str:
        return sign_checkpoint(self.checkpoint(size), self.key)

    def proof(self, statements: list[bytes], run_id: str) -> LogProof:
        wanted = {digest(each) for each in statements}
        found = [each.entry for each in self.logged if each.entry.statement in wanted]
        runs = [each.entry for each in self.logged if each.entry.kind is EntryKind.RUN and each.entry.subject == run_id]
        found += runs[-1:]
        return LogProof(checkpoint=self.note(), entries=tuple(self.proven(entry) for entry in found))

    def proven(self, entry: LogEntry) -> ProvenEntry:
        path = inclusion_path(entry.seq, self.tree.size, self.node)
        return ProvenEntry(entry=entry, path=tuple(each.hex() for each in path))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """Prove that the tree of the second size continues the first, if it is not beyond what there is."""
        return consistency_path(first, second, self.node) if first <= second <= self.tree.size else []

    def fork(self) -> "LogKeeper":
        """Give a log of the same entries, for others: from here on each goes its own way, signed with one key."""
        other = LogKeeper(self.workspace_id, self.key, at=self.at)
        other.logged, other.tree, other._nodes = [*self.logged], self.tree, dict(self._nodes)
        return other

    def page(self, first: int, **over: Any) -> LogPage:
        fields = {
            "v": 1,
            "workspace_id": self.workspace_id,
            "first": first,
            "entries": tuple(self.logged[first:]),
            "checkpoint": self.note(),
        }
        return LogPage(**(fields | over))

    def node(self, level: int, position: int) -> bytes:
        return self._nodes[level, position]

    def _keep(self, level: int, position: int, node: bytes) -> None:
        self._nodes[level, position] = node
