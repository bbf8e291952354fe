"""Connections and transactions: SQLite (WAL) by default, PostgreSQL by its address.

One writer at a time on both: `BEGIN IMMEDIATE` on SQLite, one advisory lock per transaction on PostgreSQL. So a use case reads,
decides and writes without a race, and the compare-and-set of every transition still guards against a second program version.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from opaque_jobs.errors import ConfigurationError, ConflictError

__all__ = ["SCHEMA_VERSION", "VERSION_TABLE", "Store", "open_store", "store_engine"]

SCHEMA_VERSION: Final = "0009"
"""Revision of the migrations that this program needs."""
VERSION_TABLE: Final = "opaque_jobs_version"
_BUSY_TIMEOUT_MS: Final = 15_000
_WRITER_LOCK: Final = 0x6F706A6F62
_WRITES: Final = "opaque_jobs_writes"


def store_engine(database_url: str) -> Engine:
    """Make an engine for an address; `sqlite:///...` and `postgresql://...` are known.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    try:
        url = make_url(database_url)
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(database_url, url.database)
        if url.get_backend_name() == "postgresql":
            engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
            event.listen(engine, "begin", _begin_postgresql)
            return engine
    except (SQLAlchemyError, ImportError, OSError, ValueError):
        raise ConfigurationError("the database address cannot be used", hint="check OPAQUE_JOBS_DATABASE_URL") from None
    raise ConfigurationError("this kind of database is not supported", hint="use sqlite:/// or postgresql://")


def _sqlite_engine(database_url: str, path: str | None) -> Engine:
    if not path or path == ":memory:":
        raise ConfigurationError("the database needs a file", hint="give sqlite:////full/path.db")
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    engine = create_engine(database_url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # We begin transactions ourselves: the driver's own way would take the write lock too late.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, False):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})


class Store:
    """The metadata database of one installation; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    @property
    def engine(self) -> Engine:
        """The engine, for migrations and tests."""
        return self._engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that sees one state of the database.

        Raises:
            ConfigurationError: The database cannot be reached.
        """
        with self._translated(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open the one writing transaction; it commits at the end, and an exception undoes it.

        Raises:
            ConflictError: A name or id is taken.
            ConfigurationError: The database cannot be reached or stays locked.
        """
        with self._translated(), Session(self._writer) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def check_version(self) -> None:
        """Check that the tables are those of this program version.

        Raises:
            ConfigurationError: They are not, or the database cannot be reached.
        """
        if self.version() != SCHEMA_VERSION:
            raise ConfigurationError(
                "the database's tables are missing or of another version",
                hint="run 'opaque-jobs org list' once: the command line brings them up to date",
                needed=SCHEMA_VERSION,
            )

    def version(self) -> str | None:
        """Give the tables' version; None without tables."""
        try:
            with self._engine.connect() as connection:
                found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
        except SQLAlchemyError:
            return None
        return None if found is None else str(found)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise ConflictError("this id or name is taken, or something still refers to it", hint="choose another") from None
        except SQLAlchemyError:
            raise ConfigurationError(
                "the database cannot be used", hint="is it running, reachable, not locked, and is there space left?"
            ) from None


def open_store(database_url: str) -> Store:
    """Open the store; nothing is created but an empty SQLite file.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    return Store(store_engine(database_url))
