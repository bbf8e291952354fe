"""The seal over the broker's database: every row counts, none can be changed, added or taken away without the broker's keys.

The digest of all rows is the sum of a keyed hash of each, so a step changes it by the rows that it changes. Triggers of the
connection itself count them; the database's own schema is compared, so that it brings none. The sum never leaves this process:
in the database stands only a MAC over it. Whoever decides adds up all rows; a change behind the broker's back then shows.
Source: multiset hash by addition with a secret key, Clarke et al., "Incremental Multiset Hash Functions" (ASIACRYPT 2003).
"""

import sqlite3
from dataclasses import dataclass
from functools import cache
from typing import Final

from opaque_jobs.broker.authentic import Authenticator

__all__ = ["RowSum", "schema_is"]

_MODULUS: Final = 1 << 256


def _objects(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*' ORDER BY name")
    return rows.fetchall()


@cache
def _expected(schema: str) -> tuple[tuple[str, str, str], ...]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema)
        return tuple(_objects(connection))
    finally:
        connection.close()


def schema_is(connection: sqlite3.Connection, schema: str) -> bool:
    """Tell whether a database has exactly the objects of a schema: no trigger, view or table more, none other."""
    return tuple(_objects(connection)) == _expected(schema)


@dataclass(slots=True)
class RowSum:
    """The digest of all rows of some tables, kept up to date by the connection that writes them.

    Args:
        authenticator: Of rows.
        total: The sum, as far as known.
    """

    authenticator: Authenticator
    total: int = 0

    def watch(self, connection: sqlite3.Connection, schema: str) -> None:
        """Count what this connection writes from now on. What replaces a row takes away the former, too."""
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.create_function("opaque_row", -1, self._count)
        for table, columns in _tables(schema).items():
            for event, changes in (("INSERT", ("+NEW",)), ("DELETE", ("-OLD",)), ("UPDATE", ("-OLD", "+NEW"))):
                calls = "".join(
                    f"SELECT opaque_row('{sign}', '{table}', {', '.join(f'{row}.{column}' for column in columns)});"
                    for sign, row in ((each[0], each[1:]) for each in changes)
                )
                name = f"opaque_{table}_{event.lower()}"
                connection.execute(f"CREATE TEMP TRIGGER {name} AFTER {event} ON main.{table} BEGIN {calls} END")

    def read(self, connection: sqlite3.Connection, schema: str) -> None:
        """Add up all rows as they are."""
        self.total = (
            sum(
                self._value((table, *row))
                for table, columns in _tables(schema).items()
                for row in connection.execute(f"SELECT {', '.join(columns)} FROM main.{table}")  # noqa: S608 - our own names
            )
            % _MODULUS
        )

    def _count(self, sign: str, *row: object) -> None:
        value = self._value(row)
        self.total = (self.total + (value if sign == "+" else -value)) % _MODULUS

    def _value(self, row: tuple[object, ...]) -> int:
        # Numbers, texts, bytes and None: Python's way of writing a tuple of them is one to one.
        return int.from_bytes(self.authenticator.mac(repr(row).encode()), "big")


@cache
def _tables(schema: str) -> dict[str, tuple[str, ...]]:
    """Return table -> its columns, of all but the one with the seal itself."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema)
        names = [name for kind, name, _ in _objects(connection) if kind == "table" and name != "memory"]
        return {name: tuple(row[1] for row in connection.execute(f"PRAGMA table_info({name})")) for name in names}
    finally:
        connection.close()
