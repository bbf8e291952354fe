"""The broker's own memory: an SQLite file that nobody else writes.

It remembers deposits (still sealed to the broker's key), where datasets are shared, the newest member lists, withdrawals, holds,
every release, and the log of each workspace as far as its tree goes. All reading and writing happens inside `Store.transaction`,
one at a time, so a decision and its record are one step, and a statement that was answered for is seen by every later decision.
Each step that writes is counted and sealed under a key that only the broker's own keys give, and count and seal are kept in a
file beside the database before the broker answers. So a database that was restored from an older copy, exchanged or emptied is
noticed (`anchor`), and one whose rows somebody else changed is (`seal`), when it is opened and before every release: nothing is
released from either.
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from opaque_jobs.broker import vetoes
from opaque_jobs.broker.anchor import Anchor, Mark
from opaque_jobs.broker.authentic import Authenticator, Purpose
from opaque_jobs.broker.seal import RowSum, schema_is
from opaque_jobs.broker.vetoes import Vetoes
from opaque_jobs.crypto.keys import BrokerKeys
from opaque_jobs.crypto.merkle import EMPTY, Frontier
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.custody import Deposit, parse_deposit
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.release import Release
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConfigurationError

__all__ = ["Store", "Transaction", "utc_text"]

_SCHEMA: Final = (
    """
CREATE TABLE IF NOT EXISTS deposits (
  dataset_id TEXT NOT NULL, dataset_version INTEGER NOT NULL, issued_at TEXT NOT NULL, deposit BLOB NOT NULL,
  PRIMARY KEY (dataset_id, dataset_version)
) STRICT;
CREATE TABLE IF NOT EXISTS erasures (dataset_id TEXT PRIMARY KEY, statement BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rosters (workspace_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, roster BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS withdrawals (
  workspace_id TEXT NOT NULL, job_digest TEXT NOT NULL, envelope BLOB NOT NULL, PRIMARY KEY (workspace_id, job_digest, envelope)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS releases (
  job_digest TEXT NOT NULL, run_id TEXT NOT NULL, tee_key_id TEXT NOT NULL, released_at TEXT NOT NULL,
  statement BLOB NOT NULL, logged INTEGER NOT NULL, PRIMARY KEY (job_digest, run_id)
) STRICT;
CREATE TABLE IF NOT EXISTS released_datasets (
  job_digest TEXT NOT NULL, run_id TEXT NOT NULL, dataset_id TEXT NOT NULL, dataset_version INTEGER NOT NULL,
  PRIMARY KEY (job_digest, run_id, dataset_id, dataset_version)
) STRICT;
CREATE TABLE IF NOT EXISTS logs (
  workspace_id TEXT PRIMARY KEY, size INTEGER NOT NULL, frontier BLOB NOT NULL, checkpoint TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS log_roots (
  workspace_id TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, PRIMARY KEY (workspace_id, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_seen (
  workspace_id TEXT NOT NULL, size INTEGER NOT NULL, at TEXT NOT NULL, PRIMARY KEY (workspace_id, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lists (
  digest TEXT PRIMARY KEY, workspace_id TEXT NOT NULL, epoch INTEGER NOT NULL, roster BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS acceptances (
  digest TEXT NOT NULL, key_id TEXT NOT NULL, envelope BLOB NOT NULL, PRIMARY KEY (digest, key_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memory (
  id TEXT PRIMARY KEY, steps INTEGER NOT NULL, lost INTEGER NOT NULL, latest TEXT, settings INTEGER NOT NULL, seal TEXT NOT NULL
) STRICT;
"""
    + vetoes.SCHEMA
)
_VERSION: Final = 7
_MAX_WITHDRAWAL_BYTES: Final = 4096
_MAX_WITHDRAWALS_OF_JOB: Final = 64
_MAX_WITHDRAWALS: Final = 4096
_TOO_MANY: Final = b""
"""Kept in place of a withdrawal for which there is no room."""
_BUSY_S: Final = 15.0
_TIME_STEP: Final = timedelta(seconds=10)


def utc_text(moment: datetime) -> str:
    """Give a time as text that sorts as it compares."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class Store:
    """The database file; made with its schema when missing.

    Args:
        path: The file.
        keys: The broker's own: what somebody without them wrote counts for nothing.

    Raises:
        ConfigurationError: It cannot be opened, or was written by a newer version.
    """

    def __init__(self, path: Path, keys: BrokerKeys) -> None:
        self._path = path
        self._anchor = Anchor(path.with_name("memory.anchor"), Authenticator.of(keys, Purpose.GUARD))
        self._sealer = Authenticator.of(keys, Purpose.MEMORY)
        self._rows = RowSum(Authenticator.of(keys, Purpose.ROW))
        self._read_at: Mark | None = None
        """The mark of the step up to which the rows' sum is known."""
        self._settings = 0
        self._alone = threading.Lock()
        try:
            path.touch(mode=0o600)
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, _VERSION):
                    raise ConfigurationError(
                        "the broker's database is of another version",
                        hint="use the program that wrote it, or set the broker up anew and deposit again",
                    )
                if version == 0:
                    self._make(connection)
        except (sqlite3.Error, OSError):
            raise ConfigurationError("the broker's database cannot be opened", hint="check its folder and free space") from None
        with self.transaction():  # all of it is verified now
            pass

    def _make(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        connection.execute("DELETE FROM memory")
        # Where one was before, a new one is not the one that last answered.
        lost = self._anchor.present and not self._anchor.fresh
        connection.execute("INSERT INTO memory VALUES (?, 0, ?, NULL, 0, '')", (secrets.token_hex(16), lost))
        self._rows.read(connection, _SCHEMA)
        self._seal(connection)
        if not lost:
            self._anchor.keep(_mark(connection))
        connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _seal(self, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE memory SET seal = ?", (self._sealer.mac(self._sealed(connection)).hex(),))

    def _sealed(self, connection: sqlite3.Connection) -> bytes:
        own = connection.execute("SELECT id, steps, lost, latest, settings FROM memory").fetchall()
        return repr((own, self._rows.total)).encode()

    def _check(self, connection: sqlite3.Connection, *, in_full: bool) -> None:
        """Notice that this is not the database that last answered, or not as it was left; it stays noticed until `recover`."""
        mark = _mark(connection)
        if in_full or mark != self._read_at:
            self._rows.read(connection, _SCHEMA)
        sound = schema_is(connection, _SCHEMA) and self._sealer.verifies(self._sealed(connection), mark.seal)
        if not (sound and self._anchor.allows(mark)):
            self._read_at = None
            connection.execute("UPDATE memory SET lost = 1")
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")

    def recover(self) -> None:
        """Go on with this database as it is, after its owner has looked into why it is not the one that last answered.

        Releases that stand in the log and not here are learned from the log again.

        Raises:
            ConfigurationError: It has tables or triggers that are not the broker's.
        """
        with self._alone, closing(self._connect()) as connection:
            if not schema_is(connection, _SCHEMA):
                raise ConfigurationError(
                    "the broker's database is not built as a broker builds it",
                    hint="restore it from your copy, or set the broker up anew and deposit again",
                )
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE memory SET lost = 0, steps = max(steps, ?) + 1", (self._anchor.steps,))
            self._rows.read(connection, _SCHEMA)
            self._seal(connection)
            connection.execute("COMMIT")
            self._anchor.keep(_mark(connection))

    @property
    def busy(self) -> bool:
        """Whether a step is going on, for which others wait."""
        return self._alone.locked()

    @property
    def settings(self) -> int:
        """The latest version of the broker's settings that was seen: none before it counts any more."""
        return self._settings

    def saw_settings(self, version: int) -> None:
        """Believe no version of the settings before this any more; the next step that writes makes it last."""
        self._settings = max(self._settings, version)

    def reset_clock(self) -> None:
        """Forget the latest time seen, after a clock that was once too far ahead.

        Trust: whoever does this vouches that the clock is right now. Deadlines and leases are counted by it alone.
        """
        with self.transaction() as memory:
            memory.forget_time()

    def purge(self) -> None:
        """Let nothing remain in the files of what was deleted: neither in free pages nor in the write-ahead log.

        Raises:
            ConfigurationError: Another process reads the database all the time; say it again.

        Source: PRAGMA secure_delete, VACUUM, PRAGMA wal_checkpoint(TRUNCATE) of SQLite.
        """
        try:
            with self._alone, closing(self._connect()) as connection:
                connection.execute("VACUUM")
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:
            busy = 1
        if busy:
            raise ConfigurationError("the broker's database cannot be purged now", hint="say it again")

    def keep_settings(self, version: int) -> None:
        """Make the version of the settings last, so that no earlier one is believed again."""
        self.saw_settings(version)
        with self.transaction() as memory:
            memory.put_settings(version)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    @contextmanager
    def transaction(self, *, in_full: bool = False) -> Iterator["Transaction"]:
        """Read and write alone; on leaving, all is on disk, or nothing after an exception.

        Args:
            in_full: Verify every row first, not just that the last step was this broker's.

        Raises:
            ConfigurationError: The database refuses (a full disk, for example).
        """
        try:
            with self._alone, closing(self._connect()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    self._check(connection, in_full=in_full)
                    self._rows.watch(connection, _SCHEMA)
                    before = connection.total_changes
                    memory = Transaction(connection)
                    self.saw_settings(memory.settings)
                    yield memory
                    wrote = connection.total_changes != before
                    if wrote:
                        memory.put_settings(self._settings)
                        connection.execute("UPDATE memory SET steps = steps + 1")
                    # Neither mark nor seal follows a database that is known to be an older copy, or changed by others.
                    keeps = wrote and not memory.lost
                    if keeps:
                        self._seal(connection)
                    mark, lost = _mark(connection), memory.lost
                except BaseException:
                    self._read_at = None
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
                self._read_at = None if lost else mark
                if keeps:
                    self._anchor.keep(mark)
        except sqlite3.Error:
            raise ConfigurationError("the broker's database refuses to work", hint="check its folder and free space") from None


def _mark(connection: sqlite3.Connection) -> Mark:
    identity, steps, seal = connection.execute("SELECT id, steps, seal FROM memory").fetchone()
    return Mark(identity=identity, steps=steps, seal=seal)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One step of the broker's memory."""

    _connection: sqlite3.Connection
    _lists: dict[str, Roster] = field(default_factory=dict)
    """Member lists that this step has read or kept: each acceptance in a log asks for its list anew, and no list ever changes."""

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

    def erase(self, dataset_id: str, statement: bytes) -> None:
        """Delete all deposits of a data set, and keep for good that none is ever taken again. The first statement stays."""
        self._connection.execute("DELETE FROM deposits WHERE dataset_id = ?", (dataset_id,))
        self._connection.execute("INSERT OR IGNORE INTO erasures VALUES (?, ?)", (dataset_id, statement))

    def erasure(self, dataset_id: str) -> bytes | None:
        """Return the signed statement that a data set's keys were destroyed; None if they were not."""
        row = self._connection.execute("SELECT statement FROM erasures WHERE dataset_id = ?", (dataset_id,)).fetchone()
        return row[0] if row else None

    def deposited(self, dataset_id: str) -> tuple[int, ...]:
        """Return the versions of a data set whose keys are held."""
        rows = self._connection.execute(
            "SELECT dataset_version FROM deposits WHERE dataset_id = ? ORDER BY dataset_version", (dataset_id,)
        )
        return tuple(row[0] for row in rows)

    def newest_deposit(self, dataset_id: str) -> Deposit | None:
        """Return the deposit of a dataset's version that was signed last."""
        row = self._connection.execute(
            "SELECT deposit FROM deposits WHERE dataset_id = ? ORDER BY issued_at DESC, dataset_version DESC LIMIT 1",
            (dataset_id,),
        ).fetchone()
        return parse_deposit(parse_json(row[0], what="deposit")) if row else None

    @property
    def vetoes(self) -> Vetoes:
        """Holds and sharings."""
        return Vetoes(self._connection)

    def roster(self, workspace_id: str) -> Roster | None:
        """Give the newest member list of a workspace."""
        row = self._connection.execute("SELECT roster FROM rosters WHERE workspace_id = ?", (workspace_id,)).fetchone()
        return parse_roster(row[0]) if row else None

    def put_roster(self, roster: Roster) -> None:
        """Remember a member list; never goes back to an older epoch."""
        self._connection.execute(
            "INSERT INTO rosters VALUES (?, ?, ?) ON CONFLICT (workspace_id) DO UPDATE SET "
            "epoch = excluded.epoch, roster = excluded.roster WHERE excluded.epoch > rosters.epoch",
            (roster.workspace_id, roster.epoch, roster.to_bytes()),
        )

    def withdrawals(self, workspace_id: str, job_digest: str) -> tuple[bytes, ...] | None:
        """Give what was seen that claims to withdraw consent to a job; None if that was more than is kept.

        Trust: nothing is verified. By whom a withdrawal counts depends on the member list of the job.
        """
        rows = self._connection.execute(
            "SELECT envelope FROM withdrawals WHERE workspace_id = ? AND job_digest IN (?, '')", (workspace_id, job_digest)
        ).fetchall()
        return None if (_TOO_MANY,) in rows else tuple(row[0] for row in rows)

    def put_withdrawal(self, workspace_id: str, job_digest: str, envelope: bytes) -> None:
        """Remember for good what claims to be a withdrawal. Without room for it, its job counts as withdrawn, or all of them."""
        count = "SELECT count(*), count(CASE job_digest WHEN ? THEN 1 END) FROM withdrawals WHERE workspace_id = ?"
        in_all, of_job = self._connection.execute(count, (job_digest, workspace_id)).fetchone()
        if in_all >= _MAX_WITHDRAWALS:
            job_digest, envelope = "", _TOO_MANY
        elif of_job >= _MAX_WITHDRAWALS_OF_JOB or len(envelope) > _MAX_WITHDRAWAL_BYTES:
            envelope = _TOO_MANY
        self._connection.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?)", (workspace_id, job_digest, envelope))

    def believes(self, digest: str) -> bool:
        """Tell whether a member list is the newest one that was believed of its workspace."""
        rows = self._connection.execute("SELECT roster FROM rosters")
        return any(parse_roster(row[0]).digest == digest for row in rows)

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

    def statement(self, job_digest: str, run_id: str) -> tuple[bytes, bool] | None:
        """Give the statement of a run's release, and whether it has been seen in the log; None before it was made."""
        row = self._connection.execute(
            "SELECT statement, logged FROM releases WHERE job_digest = ? AND run_id = ?", (job_digest, run_id)
        ).fetchone()
        return (row[0], bool(row[1])) if row else None

    def record_release(self, release: Release, *, job_digest: str, statement: bytes, logged: bool = False) -> None:
        """Record for good that a run's keys are for one enclave; a run has one release."""
        self._connection.execute(
            "INSERT OR IGNORE INTO releases VALUES (?, ?, ?, ?, ?, ?)",
            (
                job_digest,
                release.run_id,
                release.tee_key_id,
                utc_text(parse_datetime(release.released_at)),
                statement,
                logged,
            ),
        )

    def mark_logged(self, job_digest: str, run_id: str) -> None:
        """Record that a run's release stands in the log."""
        self._connection.execute("UPDATE releases SET logged = 1 WHERE job_digest = ? AND run_id = ?", (job_digest, run_id))

    def record_delivery(self, *, job_digest: str, run_id: str, dataset_id: str, version: int) -> bool:
        """Record that a dataset's keys go out to a released run; False if this run had them."""
        added = self._connection.execute(
            "INSERT OR IGNORE INTO released_datasets VALUES (?, ?, ?, ?)", (job_digest, run_id, dataset_id, version)
        ).rowcount
        return added == 1

    @property
    def lost(self) -> bool:
        """Whether this memory is known to be incomplete: restored from an older copy, exchanged, or emptied."""
        return bool(self._connection.execute("SELECT lost FROM memory").fetchone()[0])

    def mark_lost(self) -> None:
        """Remember that this memory is incomplete."""
        self._connection.execute("UPDATE memory SET lost = 1")

    @property
    def settings(self) -> int:
        """The latest version of the broker's settings that was seen."""
        return int(self._connection.execute("SELECT settings FROM memory").fetchone()[0])

    def put_settings(self, version: int) -> None:
        """Remember a version of the settings; never goes back."""
        self._connection.execute("UPDATE memory SET settings = max(settings, ?)", (version,))

    def observed(self, now: datetime) -> datetime:
        """Return the latest time that this broker has seen, its clock's time among them; kept every few seconds."""
        text = self._connection.execute("SELECT latest FROM memory").fetchone()[0]
        latest = now if text is None else parse_datetime(text)
        if text is None or now - latest >= _TIME_STEP:
            self._connection.execute("UPDATE memory SET latest = ?", (utc_text(now),))
        return max(now, latest)

    def forget_time(self) -> None:
        """Forget the latest time seen."""
        self._connection.execute("UPDATE memory SET latest = NULL")

    def tree(self, workspace_id: str) -> Frontier:
        """Give a workspace's log as far as it was seen."""
        row = self._connection.execute("SELECT size, frontier FROM logs WHERE workspace_id = ?", (workspace_id,)).fetchone()
        return Frontier.parse(*row) if row else EMPTY

    def log_head(self, workspace_id: str) -> str:
        """Give the signed checkpoint of a workspace's log as far as it was seen; empty before the first."""
        row = self._connection.execute("SELECT checkpoint FROM logs WHERE workspace_id = ?", (workspace_id,)).fetchone()
        return str(row[0]) if row else ""

    def put_tree(self, workspace_id: str, tree: Frontier, *, checkpoint: str, now: datetime) -> None:
        """Keep how far a log was seen, by which verified checkpoint, and when."""
        self._connection.execute(
            "INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?)", (workspace_id, tree.size, tree.to_bytes(), checkpoint)
        )
        self._connection.execute("INSERT OR IGNORE INTO log_seen VALUES (?, ?, ?)", (workspace_id, tree.size, utc_text(now)))

    def seen_at(self, workspace_id: str, size: int) -> datetime | None:
        """Give when a log was first seen to have a size, by this broker's own clock; None if it never was."""
        row = self._connection.execute(
            "SELECT min(at) FROM log_seen WHERE workspace_id = ? AND size >= ?", (workspace_id, size)
        ).fetchone()
        return parse_datetime(row[0]) if row[0] else None

    def root(self, workspace_id: str, size: int) -> bytes | None:
        """Give the root that a log had at a size; None beyond what was seen."""
        if size == 0:
            return EMPTY.root
        row = self._connection.execute(
            "SELECT root FROM log_roots WHERE workspace_id = ? AND size = ?", (workspace_id, size)
        ).fetchone()
        return row[0] if row else None

    def put_root(self, workspace_id: str, size: int, root: bytes) -> None:
        """Keep the root that a log had at a size."""
        self._connection.execute("INSERT INTO log_roots VALUES (?, ?, ?)", (workspace_id, size, root))

    def put_list(self, roster: Roster) -> None:
        """Keep a member list that was seen, accepted or not."""
        if roster.digest in self._lists:
            return
        self._connection.execute(
            "INSERT OR IGNORE INTO lists VALUES (?, ?, ?, ?)",
            (roster.digest, roster.workspace_id, roster.epoch, roster.to_bytes()),
        )
        self._lists[roster.digest] = roster

    def seen_list(self, digest: str) -> Roster | None:
        """Give a member list that was seen, accepted or not."""
        if digest not in self._lists:
            row = self._connection.execute("SELECT roster FROM lists WHERE digest = ?", (digest,)).fetchone()
            if row is None:
                return None
            self._lists[digest] = parse_roster(row[0])
        return self._lists[digest]

    def lists_after(self, workspace_id: str, epoch: int, *, accepted_by: Collection[str]) -> list[Roster]:
        """Return the member lists of a workspace of later epochs that one of these keys has accepted; the latest first."""
        rows = self._connection.execute(
            "SELECT roster FROM lists WHERE workspace_id = ? AND epoch > ? AND digest IN "
            "(SELECT digest FROM acceptances WHERE key_id IN (SELECT value FROM json_each(?))) ORDER BY epoch DESC",
            (workspace_id, epoch, json.dumps(sorted(accepted_by))),
        )
        return [parse_roster(row[0]) for row in rows]

    def list_text(self, digest: str) -> bytes | None:
        """Return a member list that was seen, accepted or not, to be parsed by whoever does not hold up others."""
        row = self._connection.execute("SELECT roster FROM lists WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else None

    def accepted_list(self, digest: str) -> Roster | None:
        """Give a member list that was seen with the acceptances of all in it."""
        roster = self.seen_list(digest)
        return roster if roster is not None and self.accepted_by_all(roster) else None

    def put_acceptance(self, roster: Roster, member: MemberEntry, envelope: bytes) -> None:
        """Keep a member's verified acceptance of a member list; one is enough."""
        self._connection.execute("INSERT OR IGNORE INTO acceptances VALUES (?, ?, ?)", (roster.digest, member.key_id, envelope))

    def accepted_by_all(self, roster: Roster) -> bool:
        """Tell whether the acceptances of all in a list are kept; asked anew as each comes, so they are counted first."""
        count = "SELECT count(*) FROM acceptances WHERE digest = ?"
        (kept,) = self._connection.execute(count, (roster.digest,)).fetchone()
        return kept == len(roster.members) and self.signers(roster.digest) == roster.key_ids

    def signers(self, digest: str) -> frozenset[str]:
        """Return the ids of the keys whose acceptances of a member list are kept; each was verified before it was."""
        rows = self._connection.execute("SELECT key_id FROM acceptances WHERE digest = ?", (digest,))
        return frozenset(row[0] for row in rows)
