"""What a database administrator can do to one row, generated from the schema: every table, every column, one change at a time.

All constraints are taken away first, as an administrator can: what refuses must be a check of ours.
"""

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects import sqlite

from opaque_jobs.store.tables import Base

TABLES = sorted(Base.metadata.tables)


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One change.

    Args:
        table: Of which table.
        column: Of which column; empty if it is of whole rows.
        kind: A word for it.
        row: Which row, by number; 0 for all.
        statements: The SQL.
    """

    table: str
    column: str
    kind: str
    row: int
    statements: tuple[tuple[str, tuple[Any, ...]], ...]

    def __str__(self) -> str:
        return f"{self.kind} of {self.table}.{self.column or '*'} in row {self.row}"

    def apply(self, connection: sqlite3.Connection) -> None:
        for sql, values in self.statements:
            connection.execute(sql, values)
        connection.commit()

    @property
    def order(self) -> bytes:
        """A place in an order that looks random and is always the same."""
        return hashlib.sha256(f"{self.table}.{self.column} {self.kind} {self.row}".encode()).digest()


def strip_constraints(connection: sqlite3.Connection) -> None:
    """Make every table one without keys, uniqueness, checks and "not null"."""
    connection.execute("PRAGMA foreign_keys = OFF")
    for table in TABLES:
        columns = Base.metadata.tables[table].columns
        plain = ", ".join(f'"{each.name}" {each.type.compile(dialect=sqlite.dialect())}' for each in columns)
        names = ", ".join(f'"{each.name}"' for each in columns)
        connection.execute(f"CREATE TABLE plain_copy ({plain})")
        connection.execute(f"INSERT INTO plain_copy ({names}) SELECT {names} FROM {table}")
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE plain_copy RENAME TO {table}")
    connection.commit()


def mutations(now: sqlite3.Connection, older: sqlite3.Connection) -> Iterator[Mutation]:
    """Give all of them, for two states of one database."""
    for table in TABLES:
        names = [column.name for column in Base.metadata.tables[table].columns]
        key = [column.name for column in Base.metadata.tables[table].primary_key]
        rows, before = _rows(now, table, names), _rows(older, table, names)
        earlier = {tuple(row[name] for name in key): row for row in before.values()}
        for number, row in rows.items():
            past = earlier.get(tuple(row[name] for name in key))
            yield from _of_cells(table, number, row, rows, past)
            yield from _of_row(table, number, row, key, past)
        insert = tuple(_insert(table, row) for row in before.values())
        yield Mutation(table=table, column="", kind="emptied", row=0, statements=((f"DELETE FROM {table}", ()),))
        yield Mutation(table=table, column="", kind="set-back", row=0, statements=((f"DELETE FROM {table}", ()), *insert))


def sample(given: Sequence[Mutation]) -> list[Mutation]:
    """Give one change of each column and one of whole rows of each table, always the same ones."""
    groups: dict[tuple[str, str], list[Mutation]] = defaultdict(list)
    for each in given:
        groups[each.table, each.column].append(each)
    return [min(group, key=lambda each: each.order) for group in groups.values()]


def _rows(connection: sqlite3.Connection, table: str, names: Sequence[str]) -> dict[int, dict[str, Any]]:
    found = connection.execute(f"SELECT rowid, {', '.join(names)} FROM {table} ORDER BY rowid").fetchall()
    return {number: dict(zip(names, values, strict=True)) for number, *values in found}


def _of_cells(table: str, number: int, row: dict[str, Any], rows: dict[int, Any], past: Any) -> Iterator[Mutation]:
    for column, value in row.items():
        others = [each[column] for each in rows.values() if each[column] != value]
        values = {"null": None, "flip": _flipped(value)}
        # The neighbour's value by turns, so that all of them come up.
        values |= {"other": others[number % len(others)]} if others else {}
        values |= {"older": past[column]} if past is not None else {}
        for kind, other in values.items():
            if other != value:
                sql = f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?'
                yield Mutation(table=table, column=column, kind=kind, row=number, statements=((sql, (other, number)),))
        swapped = [each for each, found in rows.items() if found[column] != value]
        if swapped:
            other_row = swapped[number % len(swapped)]
            sql = f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?'
            both = ((sql, (rows[other_row][column], number)), (sql, (value, other_row)))
            yield Mutation(table=table, column=column, kind="swap", row=number, statements=both)


def _of_row(table: str, number: int, row: dict[str, Any], key: Sequence[str], past: Any) -> Iterator[Mutation]:
    remove = (f"DELETE FROM {table} WHERE rowid = ?", (number,))
    yield Mutation(table=table, column="", kind="deleted", row=number, statements=(remove,))
    for name in key:
        copy = row | {name: _flipped(row[name])}
        yield Mutation(table=table, column="", kind=f"doubled-{name}", row=number, statements=(_insert(table, copy),))
    if past is not None and past != row:
        yield Mutation(table=table, column="", kind="rolled-back", row=number, statements=(remove, _insert(table, past)))


def _insert(table: str, row: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())


def _flipped(value: Any) -> Any:
    if isinstance(value, bytes) and value:
        middle = len(value) // 2
        return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
    if isinstance(value, str) and value:
        middle = len(value) // 2
        return value[:middle] + chr(ord(value[middle]) ^ 1) + value[middle + 1 :]
    if isinstance(value, int):
        return 1 - value if value in (0, 1) else value + 1
    return "x"
