"""Reading an owner's plain file, CSV or Parquet, as a stream of batches with one schema, in bounded memory.

Whatever is wrong with the file is said by row and column. What Arrow says may quote cells, so none of it gets out.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from opaque_jobs.data.csv_columns import Converter, TypeFinder, parse_types, type_name
from opaque_jobs.errors import InvalidInputError, NotFoundError

__all__ = ["Progress", "Source", "column_names", "csv_types", "open_source", "parse_arrow_type"]

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all, now and then."""
_BLOCK_BYTES: Final = 4 << 20
_BATCH_ROWS: Final = 65_536
_SMALL_BYTES: Final = 1 << 20
_DELIMITERS: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was looked at.

    Args:
        schema: Columns and types of the batches.
        batches: Starts reading from the beginning.
    """

    schema: pa.Schema
    batches: Callable[[Progress], Iterator[pa.RecordBatch]]


def column_names(path: Path, *, types: Mapping[str, str], delimiter: str) -> list[str]:
    """Look at the beginning of a file only, and at what was said about it. Arguments and errors as `open_source`."""
    _check_file(path)
    if not _is_parquet(path):
        return _csv_names(path, parse_types(types), _delimiter(path, delimiter))
    if types:
        raise InvalidInputError("types can be given for CSV only", hint="a Parquet file has its own")
    return list(_parquet_schema(path).names)


def open_source(path: Path, *, types: Mapping[str, str], delimiter: str, progress: Progress) -> Source:
    """Look at a file; of a CSV file at all of it, to find the types that were not given.

    Args:
        path: CSV (`.csv`, `.tsv`, `.txt`; first line = names, UTF-8) or Parquet (known by its content).
        types: Column -> type name (`csv_columns.TYPE_NAMES`), for CSV only.
        delimiter: Between a CSV file's fields; empty = tab for `.tsv`, else a comma.
        progress: Told how far the look has come.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is no file, is empty, is of another format, or is broken.
    """
    names = column_names(path, types=types, delimiter=delimiter)
    if _is_parquet(path):
        return _open_parquet(path)
    return _open_csv(path, names, parse_types(types), _delimiter(path, delimiter), progress)


def csv_types(path: Path, stored: Mapping[str, str]) -> dict[str, str]:
    """Return what to say of a CSV file's types so that its columns become what they were stored as; nothing of Parquet.

    Args:
        path: The file.
        stored: Column -> Arrow type, as a manifest writes it.
    """
    return {} if _is_parquet(path) else {name: word for name, kind in stored.items() if (word := type_name(kind))}


def parse_arrow_type(column: str, text: str) -> pa.DataType:
    """Return the Arrow type that a manifest names.

    Raises:
        InvalidInputError: It is a nested one, which its text alone does not tell.
    """
    decimal = re.fullmatch(r"decimal128\((\d+), (\d+)\)", text)
    zoned = re.fullmatch(r"timestamp\[(ms|us), tz=(.+)\]", text)
    fixed = re.fullmatch(r"fixed_size_binary\[(\d+)\]", text)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if zoned:
        return pa.timestamp(zoned[1], tz=zoned[2])
    if fixed:
        return pa.binary(int(fixed[1]))
    try:
        return pa.type_for_alias(text)
    except ValueError:
        raise InvalidInputError(
            f"the type of column '{column}' cannot be made up from its name alone",
            hint="give the plain file with --from: only its types are looked at",
        ) from None


def _delimiter(path: Path, given: str) -> str:
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
        raise InvalidInputError("the file is neither CSV nor Parquet", hint="CSV ends in .csv, .tsv or .txt")
    delimiter = {"\\t": "\t", "tab": "\t", "": "\t" if path.suffix.lower() == ".tsv" else ","}.get(given, given)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise InvalidInputError("the delimiter is not one character", hint="give one such as ';' or '|', or the word 'tab'")
    return delimiter


def _check_file(path: Path) -> None:
    if not path.exists():
        raise NotFoundError("there is no such file", hint="check the path")
    if not path.is_file():
        raise InvalidInputError("the path is not a file", hint="give one CSV or Parquet file")
    if not path.stat().st_size:
        raise InvalidInputError("the file is empty", hint="it needs at least the column names")


def _is_parquet(path: Path) -> bool:
    with _opened(path) as file:
        magic = file.read(4)
    if magic == b"PARE":
        raise InvalidInputError("the Parquet file is encrypted already", hint="give the plain file")
    return bool(magic == b"PAR1")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = pa.OSFile(str(path), "rb")
    except OSError:
        raise InvalidInputError("the file cannot be read", hint="check its permissions") from None
    with file:
        yield file


def _parquet_schema(path: Path) -> pa.Schema:
    with _opened(path) as file, _parquet_errors():
        return pq.ParquetFile(file, coerce_int96_timestamp_unit="us").schema_arrow.remove_metadata()


def _open_parquet(path: Path) -> Source:
    schema = _parquet_schema(path)

    def batches(progress: Progress) -> Iterator[pa.RecordBatch]:
        with _opened(path) as file:
            with _parquet_errors():
                opened = pq.ParquetFile(file, coerce_int96_timestamp_unit="us", pre_buffer=False)
                found = opened.iter_batches(batch_size=_batch_rows(schema))
            rows, size, done = max(1, opened.metadata.num_rows), path.stat().st_size, 0
            while True:
                with _parquet_errors():
                    batch = next(found, None)
                if batch is None:
                    return
                yield batch.replace_schema_metadata(None)
                done += batch.num_rows
                progress(size * done // rows, size)

    return Source(schema, batches)


def _batch_rows(schema: pa.Schema) -> int:
    return max(1024, _BATCH_ROWS // max(1, len(schema) // 16))


@contextmanager
def _parquet_errors() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError):
        raise InvalidInputError(
            "the Parquet file is damaged, or uses something that cannot be read", hint="write it again"
        ) from None


def _open_csv(path: Path, names: list[str], wanted: Mapping[str, pa.DataType], delimiter: str, progress: Progress) -> Source:
    size = path.stat().st_size
    _check_quotes(path)
    finder = TypeFinder(names)
    for batch in _texts(path, names, delimiter, lambda done, _: progress(done, 2 * size)):
        finder.look(batch)
    schema = pa.schema([(name, wanted.get(name, found)) for name, found in zip(names, finder.types, strict=True)])

    def batches(told: Progress) -> Iterator[pa.RecordBatch]:
        converter = Converter(schema)
        for batch in _texts(path, names, delimiter, lambda done, _: told(size + done, 2 * size)):
            yield converter.convert(batch)

    return Source(schema, batches)


def _check_quotes(path: Path) -> None:
    """Refuse a quote that is never closed: the rest of the file would silently be one value."""
    quotes = 0
    with _opened(path) as file:
        while chunk := file.read(_BLOCK_BYTES):
            quotes += chunk.count(b'"')
    if quotes % 2:
        raise InvalidInputError(
            "the CSV file is broken: a quote is never closed, or stands in a field without quotes around it",
            hint='write a quote inside a field as two, and quotes around that field: "6"" pipe"',
        )


def _csv_names(path: Path, wanted: Mapping[str, pa.DataType], delimiter: str) -> list[str]:
    with _csv_input(path) as file, _csv_errors():
        names = list(_reader(file, delimiter, {}).schema.names)
    other = [word for char, word in _DELIMITERS.items() if char in names[0] and char != delimiter]
    if len(names) == 1 and other and not _first_is_quoted(path):
        raise InvalidInputError(
            f"all of the file's first line would be one column, with {other[0]} in its name",
            hint="give --delimiter; if that is the name, put quotes around it in the file",
        )
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InvalidInputError(
            f"a type is given for column '{unknown[0]}', which the file does not have", hint="columns: " + ", ".join(names[:30])
        )
    if len({name.lower() for name in names}) != len(names) or "" in names:
        raise InvalidInputError(
            "two columns have the same name (upper and lower case count as one), or a column has none",
            hint="the first line of the file must name every column once",
        )
    return names


def _first_is_quoted(path: Path) -> bool:
    with _opened(path) as file:
        return bool(file.read(4).removeprefix(b"\xef\xbb\xbf").startswith(b'"'))


@contextmanager
def _csv_input(path: Path) -> Iterator[Any]:
    if path.stat().st_size <= _SMALL_BYTES:  # Arrow wants a line end after a lone line of names
        data = path.read_bytes()
        yield io.BytesIO(data if data.endswith(b"\n") else data + b"\n")
        return
    with _opened(path) as file:
        yield file


def _reader(file: Any, delimiter: str, types: Mapping[str, pa.DataType]) -> Any:
    return pacsv.open_csv(
        file,
        read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            timestamp_parsers=[],
        ),
    )


def _texts(path: Path, names: list[str], delimiter: str, progress: Progress) -> Iterator[pa.RecordBatch]:
    size = path.stat().st_size
    with _csv_input(path) as file:
        with _csv_errors():
            reader = _reader(file, delimiter, dict.fromkeys(names, pa.string()))
        while True:
            with _csv_errors():
                batch = next(reader, None)
            if batch is None:
                return
            if batch.num_rows:
                yield batch
            progress(min(size, file.tell()), size)


_ROW: Final = re.compile(r"Row #(\d+)")
_COUNTS: Final = re.compile(r"Expected (\d+) columns, got (\d+)")
_COLUMN: Final = re.compile(r"CSV column #(\d+)")


@contextmanager
def _csv_errors() -> Iterator[None]:
    """Say what Arrow found without what it quotes: only numbers are taken from its text."""
    try:
        yield
    except pa.ArrowInvalid as error:
        text = str(error)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        text = ""
    else:
        return
    row, counts, column = _ROW.search(text), _COUNTS.match(text.partition(": ")[2].partition(": ")[2]), _COLUMN.search(text)
    where = f", line {int(row[1]):,}" if row else ""
    if counts:
        problem = f"the CSV file is broken{where}: {counts[2]} fields instead of {counts[1]}"
    elif "invalid UTF8" in text:
        problem = f"the CSV file is not UTF-8{where}" + (f", column {int(column[1]) + 1}" if column else "")
    elif "straddl" in text:
        problem = "a row of the CSV file is too long, or a quote is never closed"
    else:
        problem = f"the CSV file is broken{where}"
    raise InvalidInputError(problem, hint="fields with a comma, a quote or a line break need quotes around them") from None
