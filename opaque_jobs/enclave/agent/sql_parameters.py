"""Values that an author gives beside SQL text (`spark.sql(text, args)`), written into the text before it is judged.

Spark would write them itself, after the gate has looked, and does not escape all that stands in them. So no parameter ever
reaches the engine: what it gets is text, and that very text is parsed and judged, whatever is in the values.
"""

import functools
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from pyspark.sql.connect.proto import expressions_pb2

from opaque_jobs.enclave.agent.schema_rules import RefusedError
from opaque_jobs.enclave.agent.sql_job import bound, string_literal

__all__ = ["write_parameters"]

_CONTAINERS: Final = frozenset({"array", "map", "map_from_arrays", "map_from_entries", "named_struct", "struct"})
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?|[+-]?\.[0-9]+")
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a point of the calendar, in no zone
_DEEPEST: Final = 16
_MAX_PRECISION: Final = 38


def write_parameters(message: Any) -> None:
    """Write the values of a `SQL` message, or of an older `SqlCommand`, into its text, and take them out of the message.

    Raises:
        RefusedError: A value is neither plain, nor an array, map or struct of plain ones.
    """
    field = "query" if message.DESCRIPTOR.name == "SQL" else "sql"
    named = {name: _sql(value) for name, value in message.named_arguments.items()}
    named |= {name: _literal(value) for name, value in message.args.items()}
    positional = [*map(_sql, message.pos_arguments), *map(_literal, message.pos_args)]
    if named or positional:
        setattr(message, field, bound(getattr(message, field), named, positional))
    for each in ("args", "pos_args", "named_arguments", "pos_arguments"):
        message.ClearField(each)


def _sql(expression: expressions_pb2.Expression, depth: int = 0) -> str:
    kind = expression.WhichOneof("expr_type")
    if kind == "literal":
        return _literal(expression.literal, depth)
    function = expression.unresolved_function
    if kind != "unresolved_function" or function.function_name not in _CONTAINERS or depth > _DEEPEST:
        raise RefusedError("a parameter of SQL is a plain value, or an array, map or struct of plain values, in a job")
    return f"{function.function_name}({', '.join(_sql(each, depth + 1) for each in function.arguments)})"


def _literal(value: expressions_pb2.Expression.Literal, depth: int = 0) -> str:
    kind = value.WhichOneof("literal_type") or "value without a type"
    if depth > _DEEPEST:
        raise RefusedError("a parameter of SQL is nested too deeply")
    if kind in _PLAIN:
        return _PLAIN[kind](getattr(value, kind))
    parts: Iterable[str]
    if kind == "array":
        parts = (_literal(each, depth + 1) for each in value.array.elements)
    elif kind == "map":
        pairs = zip(value.map.keys, value.map.values, strict=True)
        parts = (_literal(part, depth + 1) for pair in pairs for part in pair)
    elif kind == "struct":
        fields = (value.data_type.struct if value.HasField("data_type") else value.struct.struct_type.struct).fields
        held = (_literal(each, depth + 1) for each in value.struct.elements)
        parts = (part for field, text in zip(fields, held, strict=True) for part in (string_literal(field.name), text))
    else:
        raise RefusedError(f"a parameter of SQL cannot be a {kind} in a job")
    return f"{_CALLS[kind]}({', '.join(parts)})"


def _whole(value: int, kind: str) -> str:
    suffix, bits = _WHOLE[kind]
    lowest = -(1 << (bits - 1))  # SQL has no such number: it reads the digits first, then the sign
    return f"({value + 1}{suffix} - 1{suffix})" if value == lowest else f"({value}{suffix})"


def _decimal(value: expressions_pb2.Expression.Literal.Decimal) -> str:
    if not _NUMBER.fullmatch(value.value):
        raise RefusedError("a parameter of SQL is no decimal number")
    digits, _, fraction = value.value.lstrip("+-").partition(".")
    scale = max(len(fraction), value.scale)  # as the engine takes the larger of what is said and what is needed
    precision = min(max(len(digits) + scale, value.precision), _MAX_PRECISION)
    return f"CAST('{value.value}' AS DECIMAL({precision}, {scale}))"


_WHOLE: Final = {"byte": ("Y", 8), "short": ("S", 16), "integer": ("", 32), "long": ("L", 64)}
_CALLS: Final = {"array": "array", "map": "map", "struct": "named_struct"}
_PLAIN: Final[dict[str, Callable[[Any], str]]] = {
    "null": lambda _: "NULL",
    "string": string_literal,
    "binary": lambda held: f"X'{held.hex()}'",
    "boolean": lambda held: "TRUE" if held else "FALSE",
    **{kind: functools.partial(_whole, kind=kind) for kind in _WHOLE},
    "float": lambda held: f"CAST('{held!r}' AS FLOAT)",
    "double": lambda held: f"CAST('{held!r}' AS DOUBLE)",
    "decimal": _decimal,
    "date": lambda held: f"DATE '{(_EPOCH + timedelta(days=held)).date()}'",
    "timestamp": lambda held: f"timestamp_micros({held}L)",
    "timestamp_ntz": lambda held: f"TIMESTAMP_NTZ '{_EPOCH + timedelta(microseconds=held)}'",
    "year_month_interval": lambda held: f"make_ym_interval(0, {held})",
    "day_time_interval": lambda held: f"make_dt_interval(0, 0, 0, CAST({held}L AS DECIMAL(20, 0)) / 1000000)",
}
