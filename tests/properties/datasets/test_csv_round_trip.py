"""Whatever a CSV file holds comes back from the encrypted data set: texts exactly, typed values as what they say."""

import csv
import datetime as dt
import io
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from opaque_jobs.data.dataset_files import encrypt_file, read_files
from tests.world import everything

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


def through(rows: list[list[Any]], **types: str) -> pa.Table:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([f"c{i}" for i in range(len(rows[0]))])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "s.csv", Path(folder) / "out"
        source.write_bytes(buffer.getvalue().encode())
        result = encrypt_file(
            source,
            name="t",
            dataset_id="ds-1",
            version=1,
            organisation_id="org-1",
            out_dir=out,
            now=NOW,
            policy=everything,
            types=types,
        )
        return pa.Table.from_batches(list(read_files(result.manifest, out, result.root_key)))


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=20))
def test_texts_in_a_csv_file_come_back_exactly(rows):
    table = through([list(row) for row in rows], c0="text", c1="text")
    assert list(zip(table["c0"].to_pylist(), table["c1"].to_pylist(), strict=True)) == rows


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(10**18) + 1, 10**18 - 1),
            st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
            st.dates(),
            st.datetimes(timezones=st.just(dt.UTC)),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_types_of_a_csv_file_are_found_and_values_kept(rows):
    table = through([[a, b, c, d.isoformat(), e] for a, b, c, d, e in rows])
    kinds = [pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us", tz="UTC"), pa.bool_()]
    assert table.schema.types[2:] == kinds[2:]
    assert table.schema.types[0] == kinds[0]
    assert table.schema.types[1] in (pa.float64(), pa.int64(), pa.string())
    if table.schema.types[1] == pa.float64():
        assert table["c1"].to_pylist() == [row[1] for row in rows]
    for column, place in (("c0", 0), ("c2", 2), ("c3", 3), ("c4", 4)):
        assert table[column].to_pylist() == [row[place] for row in rows]
