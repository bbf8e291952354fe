"""What the columns of a CSV file hold: types found by looking at every value, and values converted without loss.

The whole file is looked at, so that a type never turns out wrong after an hour, and `00123` stays text. Errors name column and
row, never what a cell holds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from opaque_jobs.errors import InvalidInputError

__all__ = ["TYPE_NAMES", "Converter", "TypeFinder", "parse_types", "type_name"]

TYPE_NAMES: Final = "text, integer, float, boolean, date, timestamp, timestamp_tz, decimal(precision, scale)"
_NULLS: Final = pa.array(["", "NA", "N/A", "NULL", "null", "None"])
_DECIMAL: Final = re.compile(r"decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)")
_NAMED: Final[dict[str, pa.DataType]] = {
    "text": pa.string(),
    "string": pa.string(),
    "integer": pa.int64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "float": pa.float64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_tz": pa.timestamp("us", tz="UTC"),
}
_TIME: Final = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"
_CANDIDATES: Final[tuple[tuple[pa.DataType, str], ...]] = (
    (pa.bool_(), r"(?i:true|false)"),
    (pa.int64(), r"[+-]?(0|[1-9]\d{0,17})"),
    (pa.float64(), r"[+-]?(((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?|(?i:inf|nan))"),
    (pa.date32(), r"\d{4}-\d{2}-\d{2}"),
    (pa.timestamp("us"), _TIME),
    (pa.timestamp("us", tz="UTC"), _TIME + r"(Z|[+-]\d{2}:?\d{2})"),
)


def parse_types(given: Mapping[str, str]) -> dict[str, pa.DataType]:
    """Read the types that a person gave: column -> one of `TYPE_NAMES`.

    Raises:
        InvalidInputError: A type is not known.
    """
    return {column: _parse_type(column, text.strip().lower()) for column, text in given.items()}


def type_name(stored: str) -> str:
    """Return the name by which a person gives the type that a manifest writes; empty if no CSV column has it."""
    decimal = re.fullmatch(r"decimal128\((\d+), (\d+)\)", stored)
    if decimal:
        return f"decimal({decimal[1]},{decimal[2]})"
    return next((name for name, kind in _NAMED.items() if str(kind) == stored), "")


def _parse_type(column: str, text: str) -> pa.DataType:
    decimal = _DECIMAL.fullmatch(text)
    if decimal:
        precision, scale = int(decimal[1]), int(decimal[2])
        if 1 <= precision <= 38 and scale <= precision:
            return pa.decimal128(precision, scale)
    if text not in _NAMED:
        raise InvalidInputError(f"the type given for column '{column}' is not known", hint=f"types: {TYPE_NAMES}")
    return _NAMED[text]


def _typed_texts(values: Any) -> Any:
    """Give trimmed texts with the words for "nothing" as nulls."""
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(trimmed, value_set=_NULLS), pa.scalar(None, pa.string()), trimmed)


def _numbers(texts: Any) -> Any:
    return pc.replace_substring_regex(texts, pattern=r"^\+", replacement="")


def _cast(texts: Any, kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind) and kind.tz is None and len(texts):
        texts = pc.replace_substring_regex(texts, pattern=r"^(\S+) (\S+)$", replacement=r"\1T\2")
    if pa.types.is_boolean(kind):
        texts = pc.utf8_lower(texts)
    return pc.cast(_numbers(texts), kind)


class TypeFinder:
    """Narrows down each column's type, batch by batch of texts."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._open: list[list[tuple[pa.DataType, str]]] = [list(_CANDIDATES) for _ in names]
        self._seen = [False for _ in names]

    def look(self, batch: pa.RecordBatch) -> None:
        """Look at more rows."""
        for index, column in enumerate(batch.columns):
            if self._open[index]:
                self._look_at(index, column)

    def _look_at(self, index: int, column: Any) -> None:
        texts = _typed_texts(column).drop_null()
        if not len(texts):
            return
        self._seen[index] = True
        self._open[index] = [(kind, pattern) for kind, pattern in self._open[index] if _all_of(texts, kind, pattern)]

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The narrowest type that fits all that was seen; text for a column of nothing."""
        return tuple(
            options[0][0] if seen and options else pa.string() for seen, options in zip(self._seen, self._open, strict=True)
        )


def _all_of(texts: Any, kind: pa.DataType, pattern: str) -> bool:
    if not pc.all(pc.match_substring_regex(texts, pattern=f"^(?:{pattern})$")).as_py():
        return False
    if not pa.types.is_temporal(kind):
        return True
    try:
        _cast(texts, kind)  # a 30th of February looks like a date
    except pa.ArrowInvalid:
        return False
    return True


@dataclass(slots=True)
class Converter:
    """Converts batches of texts to a schema.

    Args:
        schema: Wanted columns.
        rows: Rows converted so far.
    """

    schema: pa.Schema
    rows: int = 0

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Convert one batch.

        Raises:
            InvalidInputError: A value is not of its column's type; names column and data row, not the value.
        """
        arrays = [self._column(array, field) for array, field in zip(batch.columns, self.schema, strict=True)]
        self.rows += batch.num_rows
        return pa.record_batch(arrays, schema=self.schema)

    def _column(self, array: Any, field: pa.Field) -> Any:
        if pa.types.is_string(field.type):
            return array
        texts = _typed_texts(array)
        try:
            return _cast(texts, field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            row = _first_failing(texts, lambda piece: _cast(piece, field.type))
        raise InvalidInputError(
            f"column '{field.name}', data row {self.rows + row + 1:,}: the value is not of type {field.type}",
            hint="mend the file, or give the column another type, for example text",
            column=field.name,
            row=self.rows + row + 1,
        )


def _first_failing(texts: Any, convert: Callable[[Any], Any]) -> int:
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(texts.slice(low, middle - low))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    return low
