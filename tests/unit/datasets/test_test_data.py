"""Test data: like the real where that is harmless, made up where it is not, the same for the same seed."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opaque_jobs.data.demo import SHARED_PATIENTS, write_demo_sources
from opaque_jobs.data.test_data import mock, synthetic, write_test_data
from opaque_jobs.errors import ConflictError, InvalidInputError

ROWS = 5000


def real() -> pa.Table:
    random = np.random.default_rng(1)
    names = np.array(["common", "usual"])[random.integers(0, 2, ROWS)].astype(object)
    names[7] = "canary-rare"
    income = random.lognormal(10, 1, ROWS)
    income[3] = 987654321.25
    days = (np.datetime64("2020-01-01") + random.integers(0, 365, ROWS)).astype("datetime64[D]")
    return pa.table(
        {
            "patient id": pa.array([f"P{i}" for i in range(ROWS)]),
            "name": pa.array(names.tolist()),
            "income": pa.array([None if i % 5 == 0 else value for i, value in enumerate(income)]),
            "age": pa.array(random.integers(18, 90, ROWS), pa.int16()),
            "flag": pa.array(random.random(ROWS) < 0.9),
            "price": pa.array([Decimal(int(v * 100)) / 100 for v in random.random(ROWS) * 50], pa.decimal128(12, 2)),
            "day": pa.array(days),
            "when": pa.array([dt.datetime(2021, 1, 1, tzinfo=dt.UTC)] * ROWS, pa.timestamp("us", tz="UTC")),
            "tags": pa.array([["canary-rare"] if i == 9 else ["a", "b"][: i % 3] for i in range(ROWS)]),
            "point": pa.array([{"x": float(i), "y": "q"} for i in range(ROWS)]),
            "map": pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
            "raw": pa.array([b"canary-rare" if i == 9 else b"\x01" for i in range(ROWS)]),
        }
    )


def made(table: pa.Table, **over: object) -> pa.Table:
    return synthetic(table.to_batches(), table.schema, **{"rows": 3000, "seed": 7, "keys": ["patient id"], **over})


def test_synthetic_data_has_the_schema_the_rows_and_nearly_the_marginals():
    table, fake = real(), made(real())
    assert [field.name for field in fake.schema] == table.schema.names
    assert fake.num_rows == 3000
    assert abs(fake["income"].null_count / 3000 - 0.2) < 0.05
    assert abs(np.median(fake["income"].drop_null()) / np.median(table["income"].drop_null()) - 1) < 0.1
    assert abs(np.mean(fake["age"]) - np.mean(table["age"])) < 2
    assert abs(np.mean(fake["flag"]) - 0.9) < 0.05
    assert min(fake["day"].to_pylist()) >= dt.date(2020, 1, 1)
    assert max(fake["day"].to_pylist()) <= dt.date(2020, 12, 31)
    assert fake["price"].type == pa.decimal128(12, 2)
    assert set(fake["when"].to_pylist()) == {dt.datetime(2021, 1, 1, tzinfo=dt.UTC)}


def test_synthetic_data_copies_no_rare_value_and_no_extreme():
    fake = made(real(), rows=50_000)
    assert "canary-rare" not in str(fake.to_pydict())
    assert max(fake["income"].drop_null().to_pylist()) < 900_000_000
    assert not {f"P{i}" for i in range(ROWS)} & set(fake["patient id"].to_pylist())


def test_synthetic_data_of_fewer_rows_than_the_floor_tells_nothing_of_them():
    table = pa.table({"a": ["canary-rare"] * 9, "b": [123456] * 9})
    fake = synthetic(table.to_batches(), table.schema, rows=500, seed=1)
    assert "canary-rare" not in fake["a"].to_pylist()
    assert 123456 not in fake["b"].to_pylist()


@pytest.mark.parametrize(("left", "right"), [(1000, 1000), (1000, 400), (400, 1000)])
def test_synthetic_keys_of_two_data_sets_meet_by_half(left, right):
    """Every row joined before, so outer and anti joins were always empty in tests."""
    keys = [set(made(real(), seed=n, rows=rows)["patient id"].to_pylist()) for n, rows in ((1, left), (2, right))]
    assert [len(each) for each in keys] == [left, right]
    assert 0.4 < len(keys[0] & keys[1]) / min(left, right) < 0.6


def test_synthetic_foreign_keys_repeat_as_the_real_ones_do():
    table = pa.table({"order": pa.array(np.repeat(np.arange(1000), 4))})
    fake = synthetic(table.to_batches(), table.schema, rows=2000, seed=1, keys=["order"])
    assert 350 < len(set(fake["order"].to_pylist())) <= 500


@pytest.mark.parametrize("make", [made, lambda table: mock(table.schema, rows=300, seed=5)])
def test_test_data_is_the_same_for_the_same_seed(make):
    assert make(real()).equals(make(real()))


def test_synthetic_data_of_another_seed_differs():
    assert not made(real(), seed=1).equals(made(real(), seed=2))


def test_mock_data_has_every_type_and_unique_keys():
    fake = mock(real().schema, rows=300, seed=5, keys=["patient id"])
    assert fake.num_rows == 300
    assert len(set(fake["patient id"].to_pylist())) == 300
    assert fake["age"].null_count > 0


@pytest.mark.parametrize("rows", [0, 1])
def test_test_data_of_hardly_any_rows_can_be_made(rows):
    assert mock(real().schema, rows=rows, seed=5).num_rows == rows
    assert made(real(), rows=rows).num_rows == rows
    assert made(real().slice(0, 0), rows=rows, keys=[]).num_rows == rows


def test_synthetic_data_of_more_rows_than_the_sample_looks_at_all_of_them():
    table = pa.table({"a": np.arange(900_000)})
    fake = synthetic(table.to_batches(max_chunksize=100_000), table.schema, rows=10_000, seed=1)
    assert abs(np.mean(fake["a"]) / 450_000 - 1) < 0.05


@pytest.mark.parametrize("over", [{"rows": -1}, {"rows": 2_000_000}, {"keys": ["none"]}, {"floor": 1}])
def test_synthetic_data_with_a_wrong_option_is_refused(over):
    with pytest.raises(InvalidInputError):
        made(real(), **over)


def test_write_test_data_writes_the_names_of_the_encrypted_files(tmp_path):
    folder = write_test_data(made(real()), tmp_path / "test")
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    assert pq.read_schema(folder / "part-00000.parquet").names[0] == "patient%20id"
    with pytest.raises(ConflictError):
        write_test_data(made(real()), tmp_path / "test")


def test_write_test_data_of_no_rows_keeps_the_columns(tmp_path):
    folder = write_test_data(mock(real().schema, rows=0, seed=1), tmp_path / "test")
    assert pq.read_metadata(folder / "part-00000.parquet").num_rows == 0


def test_demo_sources_share_the_stated_patients(tmp_path):
    sources = write_demo_sources(tmp_path / "demo")
    diagnoses = pq.read_table(sources.diagnoses)
    lines = sources.measurements.read_text().splitlines()
    assert '"mean radius"' in lines[0]
    hospital = {line.split(",")[0].strip('"') for line in lines[1:]}
    assert (len(hospital), diagnoses.num_rows) == (560, 549)
    assert len(hospital & set(diagnoses["patient_id"].to_pylist())) == SHARED_PATIENTS
    assert set(diagnoses["diagnosis"].to_pylist()) == {"malignant", "benign"}
