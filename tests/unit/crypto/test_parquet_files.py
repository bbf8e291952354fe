"""Encrypted datasets and results through pyarrow: what goes in comes out, and nothing else opens."""

import datetime as dt
import decimal
import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import (
    RootKey,
    logical_name,
    physical_name,
    released_keys,
    result_aad_prefix,
    result_file_key,
)
from opaque_jobs.crypto.parquet_read import read_dataset, read_result, result_schema
from opaque_jobs.crypto.parquet_schema import manifest_columns, storable_schema
from opaque_jobs.crypto.parquet_write import write_dataset
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, TrustError

HARD_NAMES = ["a b", " lead", "trail ", "a.b", "a,b", "a;b", "a:b", "%2C", "größe", "数据", "x`y", 'q"q', "-_~", "tab\there"]


def write(table: pa.Table, folder: Path, root: RootKey, **options):
    return write_dataset(table.to_batches(), table.schema, folder, root, **options)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def read(folder: Path, root: RootKey, schema: pa.Schema) -> pa.Table:
    keys = released_keys(root, schema.names)
    return pa.Table.from_batches(read_dataset(files(folder), keys), schema)


@pytest.fixture
def root() -> RootKey:
    return RootKey.generate(dataset_id="ds-1", version=1)


NESTED = pa.table(
    {
        "id": pa.array([1, 2, None], pa.int64()),
        "money": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-3.45")], pa.decimal128(12, 2)),
        "day": pa.array([dt.date(2024, 2, 29), None, dt.date(1900, 1, 1)]),
        "zoned": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None, None], pa.timestamp("us", "Europe/Berlin")),
        "naive": pa.array([1_704_112_200_000_000, None, None], pa.timestamp("us")),
        "list": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
        "struct": pa.array([{"a b": 1, "c,d": {"e;f": "x"}}, None, {"a b": None, "c,d": None}]),
        "structs": pa.array([[{"x.y": 1}], [], None], pa.list_(pa.struct([("x.y", pa.int8())]))),
        "map": pa.array([[("k", 1.5)], [], None], pa.map_(pa.string(), pa.float64())),
        "raw": pa.array([b"\x00\xff", None, b""]),
        "flag": pa.array([True, None, False]),
    }
)


def test_dataset_of_every_type_reads_back_the_same(tmp_path, root):
    parts = write(NESTED, tmp_path / "d", root)
    stored = storable_schema(NESTED.schema)
    assert [part.name for part in parts] == ["part-00000.parquet"]
    assert read(tmp_path / "d", root, stored).equals(NESTED.cast(stored))


@pytest.mark.parametrize("rows", [0, 1])
def test_dataset_of_few_rows_has_one_part_with_its_schema(tmp_path, root, rows):
    table = NESTED.slice(0, rows)
    (part,) = write(table, tmp_path / "d", root)
    assert part.rows == rows
    assert read(tmp_path / "d", root, storable_schema(table.schema)).num_rows == rows


def test_dataset_with_hard_names_reads_back_and_hides_them(tmp_path, root):
    table = pa.table({name: [index, None] for index, name in enumerate(HARD_NAMES)})
    write(table, tmp_path / "d", root)
    assert read(tmp_path / "d", root, table.schema).equals(table)
    raw = files(tmp_path / "d")[0].read_bytes()
    assert "größe".encode() not in raw


def test_dataset_of_a_thousand_columns_reads_back(tmp_path, root):
    table = pa.table({f"c{index}": [index] for index in range(1000)})
    write(table, tmp_path / "d", root)
    assert read(tmp_path / "d", root, table.schema).equals(table)


def test_dataset_beyond_a_part_is_cut_in_order(tmp_path, root):
    table = pa.table({"n": range(10_000)})
    seen = []
    parts = write(table, tmp_path / "d", root, part_bytes=20_000, row_group_rows=1000, on_rows=seen.append)
    assert len(parts) == 4
    assert sum(part.rows for part in parts) == sum(seen) == 10_000
    assert read(tmp_path / "d", root, table.schema).column("n").to_pylist() == list(range(10_000))


def test_parts_of_the_manifest_describe_the_files(tmp_path, root):
    import hashlib

    parts = write(pa.table({"n": range(100)}), tmp_path / "d", root)
    data = (tmp_path / "d" / parts[0].name).read_bytes()
    assert parts[0].size_bytes == len(data)
    assert parts[0].sha256 == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (tmp_path / "d" / parts[0].name).stat().st_nlink == 1
    assert not list((tmp_path / "d").glob(".*"))


def test_column_that_was_asked_for_alone_needs_only_its_key(tmp_path, root):
    write(pa.table({"a.b": [1], "c": ["secret"]}), tmp_path / "d", root)
    keys = released_keys(root, ["a.b"])
    (batch,) = read_dataset(files(tmp_path / "d"), keys, columns=["a.b"])
    assert batch.to_pydict() == {"a.b": [1]}


def test_column_without_a_released_key_is_refused(tmp_path, root):
    write(pa.table({"a": [1], "c": ["secret"]}), tmp_path / "d", root)
    with pytest.raises(TrustError):
        list(read_dataset(files(tmp_path / "d"), released_keys(root, ["a"])))


def test_unknown_column_is_not_found(tmp_path, root):
    write(pa.table({"a": [1]}), tmp_path / "d", root)
    with pytest.raises(NotFoundError):
        list(read_dataset(files(tmp_path / "d"), released_keys(root, ["b"]), columns=["b"]))


@pytest.mark.parametrize("name", HARD_NAMES)
def test_physical_name_of_a_hard_name_is_plain_and_reversible(name):
    assert not set(physical_name(name)) & set(" .,;:\t`")
    assert logical_name(physical_name(name)) == name


@pytest.mark.parametrize("name", ["", "a b", "%2c", "%zz", "%FF", "a.b", "%61"])
def test_physical_name_that_we_do_not_write_is_refused(name):
    with pytest.raises(TrustError):
        logical_name(name)


@pytest.mark.parametrize(
    "kind",
    [
        pa.null(),
        pa.duration("s"),
        pa.time64("us"),
        pa.float16(),
        pa.decimal256(50, 2),
        pa.struct([]),
        pa.decimal128(5, -2),
        pa.list_(pa.null()),
        pa.month_day_nano_interval(),
    ],
)
def test_type_that_spark_cannot_read_is_refused_by_name(kind):
    with pytest.raises(InvalidInputError, match="odd"):
        storable_schema(pa.schema([("odd", kind)]))


@pytest.mark.parametrize("names", [[], ["a", "A"], ["a", "a"], [""]])
def test_names_that_clash_are_refused(names):
    with pytest.raises(InvalidInputError):
        storable_schema(pa.schema([pa.field(name, pa.int8()) for name in names]))


def test_struct_fields_that_clash_are_refused():
    with pytest.raises(InvalidInputError):
        storable_schema(pa.schema([("s", pa.struct([("a", pa.int8()), ("A", pa.int8())]))]))


def test_awkward_types_are_stored_in_plain_form(tmp_path, root):
    table = pa.table(
        {
            "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
            "large": pa.array(["x", None, "y"], pa.large_string()),
            "nanos": pa.array([1_000, None, 2_000], pa.timestamp("ns", "UTC")),
            "fixed": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int8(), 2)),
        },
        metadata={"pandas": "names a path"},
    )
    stored = storable_schema(table.schema)
    write(table, tmp_path / "d", root)
    got = read(tmp_path / "d", root, stored)
    assert stored.metadata is None
    assert [column.type for column in manifest_columns(stored)][:3] == ["string", "string", "timestamp[us, tz=UTC]"]
    assert got.column("fixed").to_pylist() == [[1, 2], [3, 4], None]
    assert got.column("dictionary").to_pylist() == ["a", "b", "a"]


def test_timestamp_finer_than_a_microsecond_is_refused_without_showing_it(tmp_path, root):
    table = pa.table({"t": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))})
    with pytest.raises(InvalidInputError) as caught:
        write(table, tmp_path / "d", root)
    assert "1700" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert not list((tmp_path / "d").iterdir())


def test_batch_of_another_schema_is_refused_and_nothing_stays(tmp_path, root):
    first, second = pa.table({"a": range(5000)}), pa.table({"b": [1]})
    with pytest.raises(InvalidInputError):
        write_dataset(
            [*first.to_batches(max_chunksize=1000), *second.to_batches()],
            first.schema, tmp_path / "d", root, row_group_rows=500, part_bytes=8000,
        )  # fmt: skip
    assert not list((tmp_path / "d").iterdir())


def test_error_of_the_source_passes_through_and_nothing_stays(tmp_path, root):
    def broken():
        yield from pa.table({"a": range(5000)}).to_batches()
        raise InvalidInputError("line 7 is broken", hint="mend it")

    with pytest.raises(InvalidInputError, match="line 7"):
        write_dataset(broken(), pa.schema([("a", pa.int64())]), tmp_path / "d", root, row_group_rows=500, part_bytes=8000)
    assert not list((tmp_path / "d").iterdir())


def test_folder_with_something_in_it_is_left_alone(tmp_path, root):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "part-00000.parquet").write_bytes(b"older")
    with pytest.raises(ConflictError):
        write(pa.table({"a": [1]}), tmp_path / "d", root)
    assert (tmp_path / "d" / "part-00000.parquet").read_bytes() == b"older"


def test_disk_that_refuses_gives_a_clear_error_and_nothing_stays(tmp_path, root):
    import os

    table = pa.table({"a": [os.urandom(1000).hex() for _ in range(2000)]})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(ConfigurationError, match="too large"):
            write(table, tmp_path / "d", root, row_group_rows=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "d").iterdir())


def test_missing_part_is_not_found(tmp_path, root):
    with pytest.raises(NotFoundError):
        list(read_dataset([tmp_path / "part-00000.parquet"], released_keys(root, ["a"])))


RESULT_KEY = bytes(range(32))
RESULT_NAME = "part-00000-0f0f-c000.snappy.parquet"


def write_result(path: Path, *, run_id: str = "run-1", key: bytes = RESULT_KEY) -> Path:
    properties = encryption.create_encryption_properties(
        footer_key=result_file_key(key, run_id=run_id),
        aad_prefix=result_aad_prefix(run_id=run_id),
        store_aad_prefix=False,
    )
    pq.write_table(pa.table({"n": [1, 2]}), path, encryption_properties=properties)
    return path


def test_result_reads_back(tmp_path):
    path = write_result(tmp_path / RESULT_NAME)
    (batch,) = read_result([path], RESULT_KEY, run_id="run-1")
    assert batch.to_pydict() == {"n": [1, 2]}
    assert result_schema(path, RESULT_KEY, run_id="run-1").names == ["n"]


@pytest.mark.parametrize(
    ("made", "run_id", "key"),
    [
        ({"run_id": "run-2"}, "run-1", RESULT_KEY),
        ({}, "run-1", bytes(32)),
    ],
)
def test_result_of_another_run_or_key_is_refused(tmp_path, made, run_id, key):
    path = write_result(tmp_path / RESULT_NAME, **made)
    with pytest.raises(TrustError):
        list(read_result([path], key, run_id=run_id))
