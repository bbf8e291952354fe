"""The locked file in which a member's client keeps what it remembers: tables, transactions, and what can be wrong with it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from opaque_jobs.errors import ConfigurationError

__all__ = ["MemoryFile"]

_VERSION: Final = 1
_BUSY_S: Final = 15.0
_SCHEMA: Final = """
CREATE TABLE organisation (id INTEGER PRIMARY KEY CHECK (id = 1), document TEXT NOT NULL) STRICT;
CREATE TABLE consents (
  id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, workspace_id TEXT NOT NULL, job_id TEXT NOT NULL, name TEXT NOT NULL,
  withdrawal TEXT
) STRICT;
CREATE TABLE signed_lists (
  id INTEGER PRIMARY KEY, workspace_id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, roster TEXT NOT NULL
) STRICT;
CREATE TABLE lists_taken_back (
  id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, workspace_id TEXT NOT NULL, hold TEXT NOT NULL
) STRICT;
CREATE TABLE agreed_lists (
  id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, roster TEXT NOT NULL, acceptances TEXT NOT NULL
) STRICT;
CREATE TABLE drafts (job_id TEXT PRIMARY KEY, workspace_id TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE log_heads (workspace_id TEXT PRIMARY KEY, seen TEXT NOT NULL) STRICT;
CREATE TABLE shown (id INTEGER PRIMARY KEY, subject TEXT NOT NULL UNIQUE, name TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE policies (
  id INTEGER PRIMARY KEY, dataset_id TEXT NOT NULL, commitment TEXT NOT NULL, document TEXT NOT NULL,
  UNIQUE (dataset_id, commitment)
) STRICT;
CREATE TABLE stolen_keys (key_id TEXT PRIMARY KEY) STRICT;
"""


class MemoryFile:
    """One member's file. It is made when something is first written.

    Args:
        path: Where; private to its owner (0600).

    Raises:
        ConfigurationError: From every method: it is damaged, in use for long, of a newer version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open it to be read; before anything was kept, what is read is empty."""
        with self._refusals():
            if self._path.exists():
                with closing(self._connect()) as rows:
                    if self._is_made(rows):
                        yield rows
                        return
            with closing(sqlite3.connect(":memory:")) as nothing:
                nothing.executescript(_SCHEMA)
                yield nothing

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open it for one transaction, which no other command is in; nothing is done if the body raises."""
        with self._refusals():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            with closing(self._connect()) as rows:  # closed before COMMIT, nothing was done
                rows.execute("BEGIN IMMEDIATE")
                if not self._is_made(rows):
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        rows.execute(statement)
                    rows.execute(f"PRAGMA user_version = {_VERSION}")
                yield rows
                rows.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        address = f"file:{quote(str(self._path))}?mode=rw"
        rows = sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)
        rows.execute("PRAGMA synchronous = EXTRA")
        return rows

    def _is_made(self, rows: sqlite3.Connection) -> bool:
        """Tell whether there is anything in the file; what another version wrote is left alone."""
        version = rows.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise ConfigurationError(
                f"{self._path.name} was written by {'a newer' if version > _VERSION else 'another'} version of this program",
                hint="use that version; nothing was changed",
                version=version,
            )
        return bool(version)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        name = self._path.name
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise ConfigurationError(
                    f"{name} is in use", hint="another command holds it: try again when it has ended"
                ) from None
            raise ConfigurationError(f"{name} cannot be read or written", hint="check who owns it and the free space") from None
        except (sqlite3.Error, ValueError):
            raise ConfigurationError(
                f"{name} is damaged", hint="restore it: without it your client cannot tell what you signed and have seen"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{name} cannot be written: {error.strerror}", hint="check who owns it") from None
