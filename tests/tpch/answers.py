"""Right answers: DuckDB on the plaintext, and what counts as the same answer."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from tests.tpch.queries import TABLES, Query

RELATIVE = 1e-6
"""Quotients: one engine computes them in decimals, the other in doubles."""

Row = Sequence[Any]


def duckdb_answer(query: Query, data: Path, *, scale_factor: float) -> list[tuple[Any, ...]]:
    """Give DuckDB's rows on the plain files."""
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.execute(f"create view {table} as select * from read_parquet('{data / table}.parquet')")  # noqa: S608
        return connection.sql(query.sql(scale_factor=scale_factor)).fetchall()


def differences(query: Query, wanted: Sequence[Row], got: Sequence[Row]) -> str:
    """Give the first difference in words; empty if the answers are the same.

    The rows must be the same, and the columns that ORDER BY names must come in the same order. Rows that tie in those
    columns may come in any order.
    """
    if len(wanted) != len(got):
        return f"{len(got)} rows instead of {len(wanted)}"
    for place, (left, right) in enumerate(zip(wanted, got, strict=True)):
        if not all(same(left[column], right[column]) for column in query.ordered_by):
            return f"row {place} is out of order: {right} instead of {left}"
    for left, right in zip(sorted(wanted, key=_key), sorted(got, key=_key), strict=True):
        if len(left) != len(right) or not all(map(same, left, right)):
            return f"{right} instead of {left}"
    return ""


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are the same.

    Whole numbers and decimals exactly; a double within a relative tolerance; a double and a decimal also within the
    decimal's last digit (Spark's average of decimals has six digits, DuckDB's is a double).
    """
    if isinstance(left, float) or isinstance(right, float):
        decimals = [value for value in (left, right) if isinstance(value, Decimal)]
        digit = max((10.0 ** int(value.as_tuple().exponent) for value in decimals), default=0.0)
        return _is_number(left) and _is_number(right) and math.isclose(left, right, rel_tol=RELATIVE, abs_tol=digit or 1e-9)
    if _is_number(left) and _is_number(right):
        return Decimal(left) == Decimal(right)
    return bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _key(row: Row) -> tuple[str, ...]:
    return tuple(f"{float(value):.4e}" if _is_number(value) else str(value) for value in row)


def columns_of(query: Query, columns: Sequence[str]) -> tuple[str, ...]:
    """Give those of a table's columns that a query names, so that a job asks for no more."""
    words = set(re.findall(r"\w+", query.text))
    return tuple(column for column in columns if column in words)
