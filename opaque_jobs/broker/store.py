"""The broker's own memory: an SQLite file that nobody else writes.

It remembers deposits (still sealed to the broker's key), where datasets are shared, the newest member lists, withdrawals, and
every release. All reading and writing happens inside `Store.transaction`, one at a time, so a decision and its record are one
step, and a statement that was answered for is seen by every later decision.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from opaque_jobs.broker.policy import KnownRoster
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.custody import Deposit, Sharing, parse_deposit
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.workspace import Roster, parse_roster
from opaque_jobs.errors import ConfigurationError

__all__ = ["Store", "Transaction", "utc_text"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS deposits (
  dataset_id TEXT NOT NULL, dataset_version INTEGER NOT NULL, issued_at TEXT NOT NULL, deposit BLOB NOT NULL,
  PRIMARY KEY (dataset_id, dataset_version)
) STRICT;
CREATE TABLE IF NOT EXISTS sharings (
  dataset_id TEXT NOT NULL, workspace_id TEXT NOT NULL, workspace_genesis TEXT NOT NULL, shared INTEGER NOT NULL,
  issued_at TEXT NOT NULL, PRIMARY KEY (dataset_id, workspace_id)
) STRICT;
CREATE TABLE IF NOT EXISTS rosters (workspace_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, roster BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS withdrawals (job_digest TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS releases (
  job_digest TEXT NOT NULL, run_id TEXT NOT NULL, tee_key_id TEXT NOT NULL, released_at TEXT NOT NULL,
  PRIMARY KEY (job_digest, run_id)
) STRICT;
CREATE TABLE IF NOT EXISTS released_datasets (
  job_digest TEXT NOT NULL, run_id TEXT NOT NULL, dataset_id TEXT NOT NULL, dataset_version INTEGER NOT NULL,
  PRIMARY KEY (job_digest, run_id, dataset_id, dataset_version)
) STRICT;
"""
_VERSION: Final = 1
_BUSY_S: Final = 15.0


def utc_text(moment: datetime) -> str:
    """Give a time as text that sorts as it compares."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class Store:
    """The database file; made with its schema when missing.

    Raises:
        ConfigurationError: It cannot be opened, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.touch(mode=0o600)
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, _VERSION):
                    raise ConfigurationError("the broker's database is of another version", hint="use a newer program")
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.Error, OSError):
            raise ConfigurationError("the broker's database cannot be opened", hint="check its folder and free space") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Read and write alone; on leaving, all is on disk, or nothing after an exception.

        Raises:
            ConfigurationError: The database refuses (a full disk, for example).
        """
        try:
            with closing(self._connect()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield Transaction(connection)
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.Error:
            raise ConfigurationError("the broker's database refuses to work", hint="check its folder and free space") from None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One step of the broker's memory."""

    _connection: sqlite3.Connection

    def deposit(self, dataset_id: str, version: int) -> Deposit | None:
        """Give the deposit of a dataset version."""
        row = self._connection.execute(
            "SELECT deposit FROM deposits WHERE dataset_id = ? AND dataset_version = ?", (dataset_id, version)
        ).fetchone()
        return parse_deposit(parse_json(row[0], what="deposit")) if row else None

    def put_deposit(self, deposit: Deposit) -> None:
        """Keep a deposit in place of an older one."""
        self._connection.execute(
            "INSERT OR REPLACE INTO deposits VALUES (?, ?, ?, ?)",
            (
                deposit.dataset_id,
                deposit.dataset_version,
                utc_text(parse_datetime(deposit.issued_at)),
                to_bytes(deposit),
            ),
        )

    def put_sharing(self, sharing: Sharing) -> bool:
        """Keep a sharing statement unless a later one is known; tells whether it counts now."""
        issued = utc_text(parse_datetime(sharing.issued_at))
        changed = self._connection.execute(
            "INSERT INTO sharings VALUES (?, ?, ?, ?, ?) ON CONFLICT (dataset_id, workspace_id) DO UPDATE SET "
            "workspace_genesis = excluded.workspace_genesis, shared = excluded.shared, issued_at = excluded.issued_at "
            "WHERE excluded.issued_at > sharings.issued_at",
            (sharing.dataset_id, sharing.workspace_id, sharing.workspace_genesis, sharing.shared, issued),
        ).rowcount
        same = self._connection.execute(
            "SELECT 1 FROM sharings WHERE dataset_id = ? AND workspace_id = ? AND issued_at = ? AND shared = ?",
            (sharing.dataset_id, sharing.workspace_id, issued, sharing.shared),
        ).fetchone()
        return bool(changed) or same is not None

    def shared(self, workspace_id: str, genesis: str) -> frozenset[str]:
        """Give the datasets that are shared into a workspace now."""
        rows = self._connection.execute(
            "SELECT dataset_id FROM sharings WHERE workspace_id = ? AND workspace_genesis = ? AND shared = 1",
            (workspace_id, genesis),
        )
        return frozenset(row[0] for row in rows)

    def roster(self, workspace_id: str) -> Roster | None:
        """Give the newest member list of a workspace."""
        row = self._connection.execute("SELECT roster FROM rosters WHERE workspace_id = ?", (workspace_id,)).fetchone()
        return parse_roster(row[0]) if row else None

    def known_roster(self, workspace_id: str) -> KnownRoster | None:
        """Give what identifies the newest member list of a workspace."""
        roster = self.roster(workspace_id)
        if roster is None:
            return None
        return KnownRoster(
            epoch=roster.epoch,
            digest=roster.digest,
            genesis=roster.genesis_digest,
            member_ids=frozenset(member.id for member in roster.members),
        )

    def put_roster(self, roster: Roster) -> None:
        """Remember a member list; never goes back to an older epoch."""
        self._connection.execute(
            "INSERT INTO rosters VALUES (?, ?, ?) ON CONFLICT (workspace_id) DO UPDATE SET "
            "epoch = excluded.epoch, roster = excluded.roster WHERE excluded.epoch > rosters.epoch",
            (roster.workspace_id, roster.epoch, roster.to_bytes()),
        )

    def withdrawn(self, job_digest: str) -> bool:
        """Tell whether consent to a job was withdrawn."""
        row = self._connection.execute("SELECT 1 FROM withdrawals WHERE job_digest = ?", (job_digest,)).fetchone()
        return row is not None

    def put_withdrawal(self, job_digest: str, envelope: bytes) -> None:
        """Remember a withdrawal for good."""
        self._connection.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?)", (job_digest, envelope))

    def releases(self, job_digest: str, *, but_run: str) -> tuple[datetime, ...]:
        """Give when keys were released for other runs of a job."""
        rows = self._connection.execute(
            "SELECT released_at FROM releases WHERE job_digest = ? AND run_id != ?", (job_digest, but_run)
        )
        return tuple(parse_datetime(row[0]) for row in rows)

    def released_to(self, job_digest: str, run_id: str) -> str | None:
        """Give the id of the enclave keys that a run's keys were sealed to."""
        row = self._connection.execute(
            "SELECT tee_key_id FROM releases WHERE job_digest = ? AND run_id = ?", (job_digest, run_id)
        ).fetchone()
        return row[0] if row else None

    def record_release(
        self, *, job_digest: str, run_id: str, tee_key_id: str, dataset_id: str, version: int, now: datetime
    ) -> bool:
        """Record that a dataset's keys go to an enclave; False if this run had them, or another enclave has the run."""
        self._connection.execute(
            "INSERT OR IGNORE INTO releases VALUES (?, ?, ?, ?)", (job_digest, run_id, tee_key_id, utc_text(now))
        )
        if self.released_to(job_digest, run_id) != tee_key_id:
            return False
        added = self._connection.execute(
            "INSERT OR IGNORE INTO released_datasets VALUES (?, ?, ?, ?)", (job_digest, run_id, dataset_id, version)
        ).rowcount
        return added == 1
