import datetime as dt
import decimal
import json

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from opaque_jobs.cli.export import Format, export
from opaque_jobs.client.results import OpenedResult
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError

TABLE = pa.table(
    {
        "n": pa.array([1, None, 3], pa.int64()),
        "price": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("99.99")], pa.decimal128(12, 2)),
        "name with space": ["a", "ü", None],
        "on": pa.array([dt.date(2026, 1, 1), None, None]),
    }
)


def opened(table: pa.Table = TABLE) -> OpenedResult:
    return OpenedResult(schema=table.schema, batches=iter(table.to_batches(max_chunksize=2)))


def failing() -> OpenedResult:
    def batches():
        yield TABLE.to_batches()[0]
        raise OSError(28, "No space left on device")

    return OpenedResult(schema=TABLE.schema, batches=batches())


READERS = {
    Format.PARQUET: pq.read_table,
    Format.ARROW: lambda path: pa.ipc.open_file(path.read_bytes()).read_all(),
}


@pytest.mark.parametrize("how", list(READERS))
def test_export_as_a_typed_format_keeps_every_value_and_type(tmp_path, how):
    assert export(opened(), tmp_path / "out", how) == 3
    assert READERS[how](tmp_path / "out") == TABLE


def test_export_as_csv_gives_the_same_numbers(tmp_path):
    export(opened(), tmp_path / "out.csv", Format.CSV)
    assert pa_csv.read_csv(tmp_path / "out.csv")["n"].to_pylist() == [1, None, 3]


def test_export_as_json_gives_one_exact_object_a_line(tmp_path):
    export(opened(), tmp_path / "out.jsonl", Format.JSON)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0] == {"n": 1, "price": "1.10", "name with space": "a", "on": "2026-01-01"}


def test_export_of_not_a_number_as_json_is_still_json(tmp_path):
    export(opened(pa.table({"x": [float("nan"), float("inf"), 1.5]})), tmp_path / "out", Format.JSON)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "out").read_text().splitlines()]
    assert [row["x"] for row in rows] == ["nan", "inf", 1.5]


def test_export_is_readable_by_its_owner_only(tmp_path):
    export(opened(), tmp_path / "out", Format.PARQUET)
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


def test_export_over_an_existing_file_is_refused_and_keeps_it(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConflictError):
        export(opened(), tmp_path / "out", Format.CSV)
    assert (tmp_path / "out").read_text() == "mine"


def test_export_of_nested_columns_as_csv_is_refused(tmp_path):
    with pytest.raises(InvalidInputError):
        export(opened(pa.table({"x": [[1], [2]]})), tmp_path / "out", Format.CSV)
    assert list(tmp_path.iterdir()) == []


def test_export_on_a_full_disk_leaves_nothing(tmp_path):
    with pytest.raises(ConfigurationError):
        export(failing(), tmp_path / "out", Format.PARQUET)
    assert list(tmp_path.iterdir()) == []
