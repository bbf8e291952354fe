"""What stops a broker's releases, and what lets them go on: holds and their lifts, unsharings and sharings.

A veto counts when it comes, whatever its date says. It stands until something names it by its digest and lifts it; and what
lifts can name only vetoes that its signer has seen. So the order in which statements come, or come again, changes nothing: an
old lift does not lift a new hold, an old sharing does not undo a new unsharing, and a veto that was lifted stays so.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from opaque_jobs.domain.custody import SHARING_SCOPE, Sharing, sharing_subject
from opaque_jobs.domain.release import Hold

__all__ = ["SCHEMA", "Vetoes"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS vetoes (
  scope TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (scope, subject, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS liftings (
  scope TEXT NOT NULL, subject TEXT NOT NULL, basis TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY (scope, subject, basis, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sharings (
  dataset_id TEXT NOT NULL, workspace_id TEXT NOT NULL, workspace_genesis TEXT NOT NULL,
  PRIMARY KEY (dataset_id, workspace_id, workspace_genesis)
) STRICT, WITHOUT ROWID;
"""
_STANDING: Final = (
    "SELECT digest FROM vetoes v WHERE scope = ? AND subject = ? AND NOT EXISTS (SELECT 1 FROM liftings l "
    "WHERE l.scope = v.scope AND l.subject = v.subject AND l.digest = v.digest AND l.basis = ?) ORDER BY digest"
)
_HELD: Final = (
    "SELECT subject FROM vetoes v WHERE scope != ? AND NOT EXISTS (SELECT 1 FROM liftings l "
    "WHERE l.scope = v.scope AND l.subject = v.subject AND l.digest = v.digest AND l.basis = '')"
)


@dataclass(frozen=True, slots=True)
class Vetoes:
    """The vetoes in one step of the broker's memory."""

    _connection: sqlite3.Connection

    def put_hold(self, hold: Hold) -> bool:
        """Keep a verified hold, or a lift; tells whether what it says is so now."""
        if not hold.held:
            self._lift(hold.scope, hold.subject, "", hold.lifts)
            return not self.standing(hold.scope, hold.subject)
        self._veto(hold.scope, hold.subject, hold.digest)
        return hold.digest in self.standing(hold.scope, hold.subject)

    def put_sharing(self, sharing: Sharing) -> bool:
        """Keep a verified sharing or unsharing; tells whether what it says is so now."""
        subject, genesis = sharing_subject(sharing.dataset_id, sharing.workspace_id), sharing.workspace_genesis
        if not sharing.shared:
            self._veto(SHARING_SCOPE, subject, sharing.digest)
            return sharing.digest in self.standing(SHARING_SCOPE, subject, genesis)
        self._lift(SHARING_SCOPE, subject, genesis, sharing.lifts)
        self._connection.execute(
            "INSERT OR IGNORE INTO sharings VALUES (?, ?, ?)", (sharing.dataset_id, sharing.workspace_id, genesis)
        )
        return not self.standing(SHARING_SCOPE, subject, genesis)

    def standing(self, scope: str, subject: str, basis: str = "") -> tuple[str, ...]:
        """Return the digests of the vetoes on something that nothing has lifted."""
        rows = self._connection.execute(_STANDING, (scope, subject, basis))
        return tuple(row[0] for row in rows)

    def held(self) -> frozenset[str]:
        """Return what is held back now: ids of data sets and jobs, digests of revisions and lists, the organisation's own id."""
        rows = self._connection.execute(_HELD, (SHARING_SCOPE,))
        return frozenset(row[0] for row in rows)

    def shared(self, workspace_id: str, genesis: str) -> frozenset[str]:
        """Return the data sets that are shared into a workspace now."""
        rows = self._connection.execute(
            "SELECT dataset_id FROM sharings WHERE workspace_id = ? AND workspace_genesis = ?", (workspace_id, genesis)
        ).fetchall()
        return frozenset(
            dataset for (dataset,) in rows if not self.standing(SHARING_SCOPE, sharing_subject(dataset, workspace_id), genesis)
        )

    def _veto(self, scope: str, subject: str, digest: str) -> None:
        self._connection.execute("INSERT OR IGNORE INTO vetoes VALUES (?, ?, ?)", (scope, subject, digest))

    def _lift(self, scope: str, subject: str, basis: str, digests: tuple[str, ...]) -> None:
        self._connection.executemany(
            "INSERT OR IGNORE INTO liftings VALUES (?, ?, ?, ?)", [(scope, subject, basis, each) for each in digests]
        )
