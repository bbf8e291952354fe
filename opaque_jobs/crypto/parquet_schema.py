"""Which Arrow schemas a dataset may have, and the names under which they stand in a file.

pyarrow's list of column keys breaks on ':' ',' ';' and outer spaces, and dots make nested and flat columns look alike.
So every name is written by `physical_name`; renaming a batch moves no data. Types are those that Spark reads exactly.
"""

from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.crypto.parquet import logical_name, physical_name
from opaque_jobs.domain.dataset import Column
from opaque_jobs.errors import InvalidInputError

__all__ = ["indexing_options", "logical_batch", "manifest_columns", "physical_batch", "physical_schema", "storable_schema"]

_MAX_DEPTH: Final = 32
_KEPT: Final = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal128,
    pa.types.is_date32,
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_fixed_size_binary,
)


def storable_schema(schema: pa.Schema) -> pa.Schema:
    """Give the schema as it is stored: without metadata, with the plain form of each type.

    Dictionaries become their values, large and view types the ordinary ones, nanoseconds microseconds (exactly, or writing
    fails). Cast batches to it with `batch.cast`.

    Raises:
        InvalidInputError: No columns, a name twice (also in other case), or a type that Spark cannot read exactly.
    """
    if not schema.names:
        raise InvalidInputError("the data has no columns", hint="was the right file given?")
    _check_names(schema.names)
    return pa.schema([_storable_field(field, schema_path=field.name, depth=0) for field in schema])


def manifest_columns(schema: pa.Schema) -> tuple[Column, ...]:
    """Give the columns of a storable schema as a manifest lists them."""
    return tuple(Column(name=field.name, type=str(field.type)) for field in schema)


def physical_schema(schema: pa.Schema) -> pa.Schema:
    """Give a storable schema with the names that stand in the file."""
    return _renamed_schema(schema, physical_name)


def physical_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give the same data under physical names."""
    return _rename(batch, physical_schema(batch.schema))


def logical_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give the same data under the owner's names.

    Raises:
        TrustError: A name was not made by `physical_name`.
    """
    return _rename(batch, _renamed_schema(batch.schema, logical_name))


def indexing_options(physical: pa.Schema) -> dict[str, list[str]]:
    """Give the writer's options by which readers skip no row that they should not.

    Statistics and dictionaries of floats do: a reader takes -0.0 and 0.0 for different values in them, and NaN for none,
    while a filter on rows does not. So columns of floats have neither.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(physical.empty_table(), sink)
    leaves = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    columns = [leaves.column(index) for index in range(len(leaves))]
    indexed = [column.path for column in columns if column.physical_type not in {"FLOAT", "DOUBLE"}]
    return {"write_statistics": indexed, "use_dictionary": indexed}


class _Retyped:
    """A batch's buffers under another schema of the same layout, through Arrow's C data interface."""

    def __init__(self, batch: pa.RecordBatch, schema: pa.Schema) -> None:
        self._batch = batch
        self._schema = schema

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """Export (the protocol's name)."""
        return self._schema.__arrow_c_schema__(), self._batch.__arrow_c_array__(requested_schema)[1]


def _rename(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return batch if batch.schema.equals(schema) else pa.record_batch(_Retyped(batch, schema))


def _renamed_schema(schema: pa.Schema, rename: Callable[[str], str]) -> pa.Schema:
    return pa.schema([_renamed_field(field, rename, named=True) for field in schema])


def _renamed_field(field: pa.Field, rename: Callable[[str], str], *, named: bool) -> pa.Field:
    name = rename(field.name) if named else field.name
    return pa.field(name, _renamed_type(field.type, rename), nullable=field.nullable)


def _renamed_type(kind: pa.DataType, rename: Callable[[str], str]) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([_renamed_field(kind.field(i), rename, named=True) for i in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return pa.list_(_renamed_field(kind.value_field, rename, named=False))
    if pa.types.is_map(kind):
        key, item = kind.key_field, kind.item_field
        return pa.map_(_renamed_field(key, rename, named=False), _renamed_field(item, rename, named=False))
    return kind


def _check_names(names: list[str]) -> None:
    folded = [name.lower() for name in names]
    if len(set(folded)) != len(folded) or "" in folded:
        raise InvalidInputError(
            "two columns have the same name (upper and lower case count as one), or a column has none",
            hint="rename them: Spark does not tell them apart",
        )


def _storable_field(field: pa.Field, *, schema_path: str, depth: int) -> pa.Field:
    return pa.field(field.name, _storable_type(field.type, schema_path, depth), nullable=field.nullable)


def _storable_type(kind: pa.DataType, path: str, depth: int) -> pa.DataType:
    if depth > _MAX_DEPTH:
        raise InvalidInputError(f"column '{path}' is nested too deeply", hint=f"at most {_MAX_DEPTH} levels")
    types = pa.types
    if types.is_dictionary(kind):
        return _storable_type(kind.value_type, path, depth + 1)
    if types.is_struct(kind) and kind.num_fields:
        children = [kind.field(i) for i in range(kind.num_fields)]
        _check_names([child.name for child in children])
        return pa.struct([_storable_field(c, schema_path=path, depth=depth + 1) for c in children])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = kind.value_field
        return pa.list_(pa.field("element", _storable_type(item.type, path, depth + 1), nullable=item.nullable))
    if types.is_map(kind):
        value = pa.field("value", _storable_type(kind.item_type, path, depth + 1), nullable=kind.item_field.nullable)
        return pa.map_(_storable_type(kind.key_type, path, depth + 1), value)
    return _storable_scalar(kind, path)


def _storable_scalar(kind: pa.DataType, path: str) -> pa.DataType:
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("ms" if kind.unit in ("s", "ms") else "us", tz=kind.tz)
    if types.is_date64(kind):
        return pa.date32()
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        kind = pa.decimal128(kind.precision, kind.scale)
    if any(accepts(kind) for accepts in _KEPT) and not (types.is_decimal128(kind) and not 0 <= kind.scale <= kind.precision):
        return kind
    raise InvalidInputError(
        f"column '{path}' has a type that Spark cannot read exactly ({kind})",
        hint="convert it first, for example to text, a whole number or a timestamp",
    )
