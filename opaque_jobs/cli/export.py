"""Writing an opened result where its reader wants it: Parquet, CSV, Arrow or JSON lines, whole or not at all."""

import contextlib
import datetime as dt
import decimal
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from opaque_jobs.client.results import OpenedResult
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError

__all__ = ["Format", "check_free", "export", "plain_value", "written_beside"]


class Format(StrEnum):
    """How a result is written."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    JSON = "json"


def plain_value(value: Any) -> Any:  # noqa: PLR0911 - one line a type
    """Give a value as JSON can carry it: exact decimals, times and bytes as text."""
    match value:
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): plain_value(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_value(item) for item in value]
        case decimal.Decimal():
            return str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case _:
            return value


def check_free(target: Path) -> None:
    """Check that a result may be written there.

    Raises:
        ConflictError: The target exists.
        NotFoundError: Its folder does not.
    """
    if target.exists():
        raise ConflictError("the file exists already", hint="choose another name, or remove it first")
    if not target.absolute().parent.is_dir():
        raise NotFoundError("the folder for the file does not exist", hint="make it, or choose another")


def export(result: OpenedResult, target: Path, how: Format) -> int:
    """Write a result and give its number of rows. The file is readable by its owner only.

    Raises:
        ConflictError: The target exists.
        ConfigurationError: It cannot be written, for example because the disk is full.
        InvalidInputError: The format cannot carry a column (CSV has no nested values).
    """
    check_free(target)
    if how is Format.CSV and any(pa.types.is_nested(field.type) for field in result.schema):
        raise InvalidInputError("CSV cannot carry nested columns", hint="use --format parquet, arrow or json")
    try:
        with written_beside(target) as temporary:
            rows = 0
            with _writer(temporary, result.schema, how) as write:
                for batch in result.batches:
                    write(batch)
                    rows += batch.num_rows
    except OSError as error:
        raise ConfigurationError(
            f"the result cannot be written: {os.strerror(error.errno or 0)}", hint="choose another place"
        ) from None
    return rows


@contextlib.contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Give a private file to write; it takes the target's place when all went well, and is gone otherwise."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writer(file: Path, schema: pa.Schema, how: Format) -> Iterator[Callable[[pa.RecordBatch], Any]]:
    match how:
        case Format.PARQUET:
            with pq.ParquetWriter(file, schema) as parquet:
                yield parquet.write_batch
        case Format.CSV:
            with pa_csv.CSVWriter(file, schema) as csv:
                yield csv.write_batch
        case Format.ARROW:
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as arrow:
                yield arrow.write_batch
        case Format.JSON:
            with file.open("w", encoding="utf-8") as lines:
                yield lambda batch: lines.writelines(
                    json.dumps(plain_value(row), ensure_ascii=False) + "\n" for row in batch.to_pylist()
                )
