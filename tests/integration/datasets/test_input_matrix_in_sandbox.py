"""Data of every shape, from an owner's plain file through encryption, brokers and the engine, comes out unchanged."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opaque_jobs.domain.job import Code, Language
from tests.support.sealed_files import SealedFiles

pytestmark = pytest.mark.spark
UTC = dt.UTC


@pytest.fixture(scope="module")
def world(enclave_runtime, tmp_path_factory) -> SealedFiles:
    """Encrypt all sources once."""
    folder = tmp_path_factory.mktemp("matrix")
    world = SealedFiles(runtime=enclave_runtime, folder=folder / "sealed")
    hospital, laboratory = world.world.hospital, world.world.laboratory
    (folder / "names.csv").write_text("mean radius,größe in cm,名前,a.b,tick`\n1.5,007,x,2024-02-29,true\n,,,,\n")
    (folder / "empty.csv").write_text("id,value\n")
    (folder / "single.csv").write_text('id,word\n1,"only, one"')
    wide = pa.table({f"column {i}": pa.array([i, None], pa.int32()) for i in range(1000)})
    pq.write_table(wide, folder / "wide.parquet")
    pq.write_table(shapes(), folder / "shapes.parquet")
    world.folder.mkdir()
    world.add(
        {
            "shapes": (hospital, folder / "shapes.parquet"),
            "names": (laboratory, folder / "names.csv"),
            "empty": (hospital, folder / "empty.csv"),
            "single": (laboratory, folder / "single.csv"),
            "wide": (laboratory, folder / "wide.parquet"),
        }
    )
    return world


def shapes() -> pa.Table:
    """Give one column of each kind, the last row all null."""
    return pa.table(
        {
            "nr": pa.array([1, 2, 3], pa.int64()),
            "tiny": pa.array([-128, 127, None], pa.int8()),
            "flag": pa.array([True, False, None]),
            "real": pa.array([1.5, float("inf"), None], pa.float64()),
            "half": pa.array([0.5, -0.25, None], pa.float32()),
            "small dec": pa.array([Decimal("1.23"), Decimal("-9999999.99"), None], pa.decimal128(9, 2)),
            "big dec": pa.array([Decimal("1.000000000000000001"), Decimal(-1), None], pa.decimal128(38, 18)),
            "text": pa.array(["", "ß ' \" ` 数 😀", None]),
            "raw": pa.array([b"", b"\x00\xff", None]),
            "day": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
            "zoned": pa.array(
                [dt.datetime(1899, 12, 31, 23, 59, 59, 999999, UTC), dt.datetime(2024, 3, 31, 1, 0, tzinfo=UTC), None],
                pa.timestamp("us", tz="Europe/Berlin"),
            ),
            "local": pa.array(["1582-10-04T00:00", "2024-03-31T02:30", None]).cast(pa.timestamp("us")),
            "milli": pa.array([0, -1, None], pa.timestamp("ms", tz="UTC")),
            "list": pa.array([[1, None], [], None], pa.list_(pa.int64())),
            "struct": pa.array([{"a b": 1, "c.d": ["x"]}, {"a b": None, "c.d": None}, None],
                               pa.struct([("a b", pa.int32()), ("c.d", pa.list_(pa.string()))])),
            "map": pa.array([[("k", {"v": 1.0})], [], None], pa.map_(pa.string(), pa.struct([("v", pa.float64())]))),
            "deep": pa.array([[[{"x": [[1]]}]], [None], None],
                             pa.list_(pa.list_(pa.struct([("x", pa.list_(pa.list_(pa.int64())))])))),
        }
    )  # fmt: skip


def everything(world: SealedFiles, alias: str, order_by: str) -> pa.Table:
    code = Code(language=Language.SQL, text=f"SELECT * FROM {alias} ORDER BY {order_by}")  # noqa: S608 - the test's own names
    return pa.Table.from_batches(world.run(code, {alias: world.columns(alias)}).batches)


def test_every_type_and_null_comes_out_as_it_went_in(world):
    got, wanted = everything(world, "shapes", "nr"), shapes()
    assert got.column_names == wanted.column_names
    for name in wanted.column_names:
        assert got[name].to_pylist() == wanted[name].to_pylist(), name


def test_names_with_spaces_points_ticks_and_unicode_can_be_used(world):
    text = "SELECT `mean radius`, upper(`größe in cm`) AS `groß`, `名前`, `a.b`, `tick``` FROM names WHERE `mean radius` > 1"
    answer = world.run(Code(language=Language.SQL, text=text), {"names": world.columns("names")})
    assert answer.rows == [(1.5, "007", "x", dt.date(2024, 2, 29), True)]
    assert answer.batches[0].schema.names == ["mean radius", "groß", "名前", "a.b", "tick`"]


def test_empty_single_and_wide_data_in_one_python_job(world):
    text = """
def main(spark, inputs, params):
    wide = inputs["wide"]
    row = [
        inputs["empty"].count(),
        len(inputs["empty"].columns),
        inputs["single"].collect()[0]["word"],
        len(wide.columns),
        sorted(sum(value or 0 for value in each) for each in wide.collect()),
    ]
    return spark.createDataFrame([row], "empty long, columns int, word string, wide int, sums array<long>")
"""
    answer = world.run(
        Code(language=Language.PYTHON, text=text), {alias: world.columns(alias) for alias in ("empty", "single", "wide")}
    )
    assert answer.rows == [(0, 2, "only, one", 1000, [0, 499500])]


def test_empty_data_gives_an_empty_result_that_opens(world):
    answer = world.run(Code(language=Language.SQL, text="SELECT id, value FROM empty"), {"empty": world.columns("empty")})
    assert answer.rows == []


def test_plain_file_of_the_source_is_not_needed_after_encryption(world):
    folder: Path = world.folder / "encrypted" / "single"
    assert b"only, one" not in b"".join(path.read_bytes() for path in folder.iterdir())
