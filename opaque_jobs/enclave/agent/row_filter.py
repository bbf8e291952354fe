"""An owner's row rule as one of the engine's predicates, out of any session's reach.

Every literal is made of exactly its column's type, so the analyser adds no cast, and nothing of what is left asks a setting:
neither the time zone, nor ANSI mode, nor the case of names. The engine takes a float that is not a number for the largest of
all; an owner does not, so `>` and `>=` leave it out.
"""

import json
from datetime import UTC, date, datetime
from functools import reduce
from typing import Any, Final

from opaque_jobs.domain.row_rule import Family, Joint, RowOperator, RowRule, RowTest, Value

__all__ = ["predicate"]

_METHODS: Final = {
    RowOperator.EQUAL: "equalTo",
    RowOperator.NOT_EQUAL: "notEqual",
    RowOperator.LESS: "lt",
    RowOperator.LESS_OR_EQUAL: "leq",
    RowOperator.GREATER: "gt",
    RowOperator.GREATER_OR_EQUAL: "geq",
}
_ABOVE: Final = frozenset({RowOperator.GREATER, RowOperator.GREATER_OR_EQUAL})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def predicate(jvm: Any, rule: RowRule, columns: dict[str, tuple[Any, Any]]) -> Any:
    """Return a rule as a column of truth values.

    Args:
        jvm: The engine's classes.
        rule: What must hold.
        columns: Logical name -> the engine's column, and its type in Spark's JSON form.
    """
    if isinstance(rule, RowTest):
        return _tested(jvm, rule, *columns[rule.column])
    parts = [predicate(jvm, each, columns) for each in rule.rules]
    if rule.joint is Joint.NOT:
        return getattr(jvm.org.apache.spark.sql.functions, "not")(parts[0])
    word = "and" if rule.joint is Joint.AND else "or"
    return reduce(lambda left, right: getattr(left, word)(right), parts)


def _tested(jvm: Any, test: RowTest, column: Any, kind: Any) -> Any:
    if test.operator is RowOperator.IS_NULL:
        return column.isNull()
    if test.operator is RowOperator.LIKE:
        return column.like(test.values[0])
    literals = [jvm.opaquejobs.EngineCalls.literal(json.dumps(kind), _internal(value)) for value in test.typed]
    if test.operator is RowOperator.IN:
        return jvm.opaquejobs.EngineCalls.among(column, literals)
    compared = getattr(column, _METHODS[test.operator])(literals[0])
    if test.family is Family.FLOAT and test.operator in _ABOVE:
        functions = jvm.org.apache.spark.sql.functions
        return getattr(compared, "and")(getattr(functions, "not")(functions.isnan(column)))
    return compared


def _internal(value: Value) -> str:
    """Return a value as the engine counts: days and microseconds since 1970, everything else as it is written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        passed = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
        return str((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds)
    if isinstance(value, date):
        return str(value.toordinal() - _EPOCH.toordinal())
    return str(value)
