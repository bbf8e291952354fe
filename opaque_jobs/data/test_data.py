"""What stands in for an owner's data in tests: made from the schema only (mock), or like the data (synthetic).

Plain Parquet under the names that the encrypted files have, so that a test reads what a real run will read. The same seed
gives the same bytes. What synthetic data tells about the real is in `synthetic`.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.crypto.parquet_schema import indexing_options, physical_batch, storable_schema
from opaque_jobs.data.column_models import FLOOR, Model, key_column, learn, mock_model
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError

__all__ = ["FLOOR", "mock", "synthetic", "write_test_data"]

MAX_ROWS: Final = 1_000_000
SAMPLE_ROWS: Final = 200_000


def mock(schema: pa.Schema, *, rows: int, seed: int, keys: Sequence[str] = ()) -> pa.Table:
    """Make data from the schema alone: any values of the right types, with nulls where they are allowed.

    Args:
        schema: Of the data set.
        rows: How many.
        seed: The same seed gives the same data.
        keys: Columns to join on: `key-00000001`, ... or 1, 2, ..., the same in every data set.

    Raises:
        InvalidInputError: Too many rows, a key that is no column, or a type that cannot be stored.
    """
    stored = _checked(schema, rows, keys)
    random = np.random.default_rng(seed)
    models = {field.name: mock_model(field.type, nullable=field.nullable) for field in stored}
    return _made(stored, models, rows, random, dict.fromkeys(keys, 1.0))


def synthetic(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    rows: int,
    seed: int,
    keys: Sequence[str] = (),
    floor: int = FLOOR,
) -> pa.Table:
    """Make data like the real: column by column, without relations between columns.

    Args:
        batches: The real data; up to 200,000 rows of it, chosen at random, are looked at.
        schema: Of the batches.
        rows: How many to make.
        seed: The same seed and data give the same result.
        keys: Columns to join on; they get made-up keys that are the same in every data set.
        floor: Nothing is copied or averaged that is true of fewer rows.

    Raises:
        InvalidInputError: Too many rows, a key that is no column, or a type that cannot be stored.

    Trust: It tells per column the share of nulls, values that at least `floor` rows have, means of at least `floor`
        neighbouring values (so ranges, but no extreme), and lengths likewise. No rarer value is copied. This is no formal
        privacy: the owner decides whether to attach it.
    """
    stored = _checked(schema, rows, keys)
    if floor < 2:
        raise InvalidInputError("the floor must be at least 2", hint=f"{FLOOR} is usual")
    random = np.random.default_rng(seed)
    sample = _sample(batches, schema, random).cast(stored)
    models: dict[str, Model] = {}
    spread: dict[str, float] = {}
    for field in stored:
        column = sample[field.name].combine_chunks()
        if field.name in keys:
            present = max(1, len(column) - column.null_count)
            spread[field.name] = max(1 / present, column.drop_null().unique().__len__() / present)
        models[field.name] = learn(column, field.type, floor=floor)
    return _made(stored, models, rows, random, spread)


def write_test_data(table: pa.Table, folder: Path) -> Path:
    """Write test data as the folder that `attach_test_data` takes: one plain Parquet file, whole or not at all.

    Raises:
        ConflictError: The folder exists.
        ConfigurationError: The disk refuses.
    """
    if folder.exists():
        raise ConflictError("the folder for the test data exists already", hint="choose another")
    work: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
        batches = [physical_batch(batch) for batch in table.combine_chunks().to_batches()]
        schema = physical_batch(pa.RecordBatch.from_pylist([], schema=table.schema)).schema
        made = pa.Table.from_batches(batches, schema=schema)
        pq.write_table(made, work / "part-00000.parquet", store_schema=False, **indexing_options(schema))
        work.rename(folder)
    except OSError:
        raise ConfigurationError("test data cannot be written", hint="free some space or choose another folder") from None
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _checked(schema: pa.Schema, rows: int, keys: Sequence[str]) -> pa.Schema:
    stored = storable_schema(schema)
    if not 0 <= rows <= MAX_ROWS:
        raise InvalidInputError("test data has too many rows", hint=f"at most {MAX_ROWS:,}")
    missing = [key for key in keys if key not in stored.names]
    if missing:
        raise InvalidInputError(f"key '{missing[0]}' is no column", hint="columns: " + ", ".join(stored.names[:30]))
    return stored


def _made(
    stored: pa.Schema, models: dict[str, Model], rows: int, random: np.random.Generator, keys: dict[str, float]
) -> pa.Table:
    columns = []
    for field in stored:
        own = np.random.default_rng(random.integers(2**63))
        if field.name in keys:
            columns.append(key_column(field.type, rows, keys[field.name], own))
        else:
            columns.append(models[field.name].make(rows, own))
    return pa.table(columns, schema=stored)


def _sample(batches: Iterable[pa.RecordBatch], schema: pa.Schema, random: np.random.Generator) -> pa.Table:
    """Choose rows with equal chance each: those with the smallest of fresh random marks (bounded memory)."""
    kept = schema.empty_table()
    marks = np.empty(0)
    for batch in _slices(batches):
        kept = pa.concat_tables([kept, pa.Table.from_batches([batch])])
        marks = np.concatenate([marks, random.random(batch.num_rows)])
        if len(marks) > 2 * SAMPLE_ROWS:
            chosen = np.sort(np.argpartition(marks, SAMPLE_ROWS)[:SAMPLE_ROWS])
            kept, marks = kept.take(pa.array(chosen)).combine_chunks(), marks[chosen]
    if len(marks) > SAMPLE_ROWS:
        kept = kept.take(pa.array(np.sort(np.argpartition(marks, SAMPLE_ROWS)[:SAMPLE_ROWS])))
    return kept


def _slices(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, SAMPLE_ROWS):
            yield batch.slice(start, SAMPLE_ROWS)
