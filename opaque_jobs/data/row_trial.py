"""An owner's rule tried on the owner's own plain data: which rows it keeps, by Arrow, in memory bounded by a batch.

The same logic as in the enclave: three values, exact types, and a float that is not a number fulfils `!=` alone.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from opaque_jobs.crypto.parquet_schema import storable_schema
from opaque_jobs.domain.row_rule import Family, Joint, RowOperator, RowRule, RowTest

__all__ = ["Tally", "counted", "kept"]

_COMPARE: Final = {
    RowOperator.EQUAL: pc.equal,
    RowOperator.NOT_EQUAL: pc.not_equal,
    RowOperator.LESS: pc.less,
    RowOperator.LESS_OR_EQUAL: pc.less_equal,
    RowOperator.GREATER: pc.greater,
    RowOperator.GREATER_OR_EQUAL: pc.greater_equal,
}


@dataclass(slots=True)
class Tally:
    """Rows that a rule keeps, of rows in all."""

    kept: int = 0
    rows: int = 0


def counted(batches: Iterable[pa.RecordBatch], rule: RowRule | None, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and count what a rule keeps of them."""
    for batch in batches:
        tally.rows += batch.num_rows
        tally.kept += batch.num_rows if rule is None else kept(batch, rule).num_rows
        yield batch


def kept(batch: pa.RecordBatch, rule: RowRule | None) -> pa.RecordBatch:
    """Return the rows of a batch that fulfil a rule."""
    return batch if rule is None else batch.filter(_holds(batch, rule), null_selection_behavior="drop")


def _holds(batch: pa.RecordBatch, rule: RowRule) -> Any:
    if isinstance(rule, RowTest):
        column = batch.column(batch.schema.get_field_index(rule.column))
        stored = storable_schema(pa.schema([pa.field("c", column.type)])).field(0).type
        return _test(column if column.type == stored else column.cast(stored), rule)
    parts = [_holds(batch, each) for each in rule.rules]
    if rule.joint is Joint.NOT:
        return pc.invert(parts[0])
    return reduce(pc.and_kleene if rule.joint is Joint.AND else pc.or_kleene, parts)


def _test(column: Any, test: RowTest) -> Any:
    if test.operator is RowOperator.IS_NULL:
        return column.is_null()
    if test.operator is RowOperator.LIKE:
        return pc.match_substring_regex(column, pattern=_like(test.values[0]))
    values = [_scalar(value, column.type, test.family) for value in test.typed]
    if test.operator is RowOperator.IN:
        return reduce(pc.or_kleene, [pc.equal(column, value) for value in values])
    return _COMPARE[test.operator](column, values[0])


def _scalar(value: Any, kind: pa.DataType, family: Family) -> Any:
    return pa.scalar(value, kind) if family is not Family.FLOAT else pa.scalar(value, pa.float64()).cast(kind)


def _like(pattern: str) -> str:
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    meant = {"%": ".*", "_": "."}
    return r"(?s)\A" + "".join(meant.get(each) or re.escape(each[-1]) for each in pieces) + r"\z"
