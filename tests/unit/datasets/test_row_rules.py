"""What owners may write after `--where`: whole rules, typed against the file's columns, shown back as they are evaluated."""

from pathlib import Path

import pyarrow as pa
import pytest

from opaque_jobs.crypto.parquet_schema import manifest_columns, storable_schema
from opaque_jobs.data.row_rules import parse_rules, rule_text
from opaque_jobs.data.row_trial import Tally, counted, kept
from opaque_jobs.data.sources import open_source
from opaque_jobs.errors import InvalidInputError

PEOPLE = """id,day,at,amount,ratio,consent,zip,code,note
1,2024-01-01,2024-01-01T00:30:00,0.10,0.1,true,01067,1E3,yes
2,2023-12-31,2023-12-31T23:59:59.999999,0.30,0.3,false,10115,1000,no
3,2024-02-29,2024-02-29T12:00:00,0.31,0.7,,10117,00123,
4,2024-01-02,2024-01-01T01:00:00,-0.05,nan,true,01069,123,maybe
"""
PEOPLE_TYPES = {"zip": "text", "code": "text", "amount": "decimal(10,2)"}
TWO_DAYS = "id,day,consent,note\n1,2024-01-01,true,yes\n2,2024-06-01,false,no\n"


def opened(folder: Path, text: str, types: dict[str, str]):
    path = folder / "data.csv"
    path.write_text(text)
    return open_source(path, types=types, delimiter="", progress=lambda _done, _all: None)


def rule_on(schema: pa.Schema, *where: str):
    return parse_rules(where, manifest_columns(storable_schema(schema)))


def ids(folder: Path, text: str, *where: str, types: dict[str, str] | None = None) -> list[int]:
    source = opened(folder, text, types or {})
    rule = rule_on(source.schema, *where)
    assert rule_on(source.schema, rule_text(rule)) == rule  # what is shown is what is evaluated
    return [row["id"] for batch in source.batches(lambda _d, _a: None) for row in kept(batch, rule).to_pylist()]


@pytest.mark.parametrize(
    ("where", "right"),
    [
        ("day >= 2024-01-01", [1, 3, 4]),
        ("at >= 2024-01-01T01:00:00", [3, 4]),
        ("at >= '2024-01-01 01:00'", [3, 4]),
        ("at < 2024-01-01", [2]),
        ("amount <= 0.3", [1, 2, 4]),
        ("amount < 0.3", [1, 4]),
        ("amount < -.04", [4]),
        ("ratio <= 0.7", [1, 2, 3]),
        ("ratio >= 0.3", [2, 3]),
        ("ratio != 0.1", [2, 3, 4]),
        ("NOT ratio >= 0.3", [1, 4]),
        ("consent != false", [1, 4]),
        ("consent IS NULL", [3]),
        ("note = yes", [1]),
        ("note IS NOT NULL AND NOT note = 'no'", [1, 4]),
        ("zip >= '10000'", [2, 3]),
        ("code = '1E3'", [1]),
        ("id <= 9007199254740993", [1, 2, 3, 4]),
        ("3 > id", [1, 2]),
        ("id IN (1, 3) OR note = 'maybe'", [1, 3, 4]),
        ("id NOT IN (1, 3)", [2, 4]),
        ("id = 1 OR id = 2 AND note = 'maybe'", [1]),
        ("(id = 1 OR id = 2) AND note = 'no'", [2]),
        ("day BETWEEN 2024-01-01 AND 2024-01-31 AND consent = true", [1, 4]),
        ("day NOT BETWEEN 2024-01-01 AND 2024-01-31", [2, 3]),
        ("zip LIKE '010%'", [1, 4]),
        ("zip NOT LIKE '_0%'", [1, 4]),
        (r"note LIKE 'y\_s'", []),
        ("NOTE = 'yes'", [1]),
        ("\"note\" = 'yes'", [1]),
    ],
)
def test_row_rule_keeps_the_right_rows(tmp_path, where, right):
    assert ids(tmp_path, PEOPLE, where, types=PEOPLE_TYPES) == right


def test_row_rules_given_several_times_must_all_hold(tmp_path):
    assert ids(tmp_path, PEOPLE, "id >= 2", "id <= 3", types=PEOPLE_TYPES) == [2, 3]
    assert ids(tmp_path, PEOPLE, "id = 1 OR id = 2", "id = 2 OR id = 3", types=PEOPLE_TYPES) == [2]


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("day >= yesterday", "date that exists"),
        ("day >= epoch", "date that exists"),
        ("day >= current_date", "date that exists"),
        ("day >= 2024-02-30", "date that exists"),
        ("day >= 2024-01-01T12:00:00", "without a time of day"),
        ("day >= 20240101", "date that exists"),
        ("at >= 2024-01-01T01:00:00+02:00", "without an offset"),
        ("at >= 2024-01-01T01:00:00Z", "without an offset"),
        ("at >= 2024-01-01T25:00:00", "such as"),
        ("at >= 2024-01-01T01:00:00.1234567", "six digits"),
        ("zip >= 10000", "single quotes"),
        ("zip = true", "single quotes"),
        ("id <= 92233720368547758080", "9223372036854775807"),
        ("id = '5'", "without quotes"),
        ("id = 2.5", "int64"),
        ("id = five", "without quotes"),
        ("amount <= 0.305", "2 after it"),
        ("amount <= 123456789", "8 digits before the point"),
        ("ratio < 1e999", "double"),
        ("ratio > nan", "double"),
        ("consent = 1", "true or false"),
        ("consent > false", "bool"),
        ("consent = null", "IS NULL"),
        ("id LIKE '1%'", "int64"),
        ("day >= 2024-01-01 or nothing", "COLUMN >= VALUE"),
        ("note = code", "compare a column with a value"),
        ("nothing = 1", "columns: id, day"),
        ("note = yes AND", "COLUMN >= VALUE"),
        ("note = yes -- AND consent = true", "COLUMN >= VALUE"),
        ("note = 'yes' /* AND consent = true */", "COLUMN >= VALUE"),
        ("note = 'yes'; consent = true", "COLUMN >= VALUE"),
        ("note = 'yes' {# AND consent = true #}", "COLUMN >= VALUE"),
        ("note = 'yes' 'no'", ""),
        ("note = yes no", "COLUMN >= VALUE"),
        ("note LIKE 'a' ESCAPE 'b'", "COLUMN >= VALUE"),
        (r"note LIKE 'a\b'", r"\%"),
        ("id IN (SELECT 1)", "COLUMN >= VALUE"),
        ("id IN ()", "COLUMN >= VALUE"),
        ("id IN (1, NULL)", "IS NULL"),
        ("id BETWEEN SYMMETRIC 3 AND 1", "COLUMN >= VALUE"),
        ("id + 1 = 2", "COLUMN >= VALUE"),
        ("id = 1 + 1", ""),
        ("abs(id) = 1", "COLUMN >= VALUE"),
        ("id <=> 1", "COLUMN >= VALUE"),
        ("1 = 1", "COLUMN >= VALUE"),
        ("id", "COLUMN >= VALUE"),
        ("consent", "COLUMN >= VALUE"),
        ("consent IS TRUE", "COLUMN >= VALUE"),
        ("1 < id < 3", "COLUMN >= VALUE"),
        ("people.id = 1", "COLUMN >= VALUE"),
        ("id = 1_000", "COLUMN >= VALUE"),
        ("id = 0x10", "COLUMN >= VALUE"),
        ("", "COLUMN >= VALUE"),
        ("note = 'yes", "COLUMN >= VALUE"),
        ("(" * 300 + "id = 1" + ")" * 300, ""),
        (" AND ".join(["id = 1"] * 300), "at most 200"),
    ],
)
def test_row_rule_that_is_not_typed_and_whole_is_refused_with_a_hint(tmp_path, where, hint):
    with pytest.raises(InvalidInputError) as refused:
        ids(tmp_path, PEOPLE, where, types=PEOPLE_TYPES)

    assert refused.value.hint
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("where", "right"),
    [
        ("day >= 2024-01-01 AND consent = true", [1]),
        ("note != maybe AND consent = true", [1]),
        ("note = yes OR consent = false", [1, 2]),
    ],
)
def test_row_rule_of_several_comparisons_is_evaluated_to_its_end(tmp_path, where, right):
    assert ids(tmp_path, TWO_DAYS, where) == right


def test_row_rule_on_decimals_takes_no_way_through_a_float(tmp_path):
    money = "id,amount\n1,90071992547409.93\n2,90071992547409.94\n"

    assert ids(tmp_path, money, "amount <= 90071992547409.93", types={"amount": "decimal(18,2)"}) == [1]
    assert ids(tmp_path, "id,amount\n1,-0.00\n2,0.01\n", "amount = -0", types={"amount": "decimal(18,2)"}) == [1]


def test_row_rule_on_large_whole_numbers_is_exact(tmp_path):
    assert ids(tmp_path, "id,x\n1,9007199254740992\n2,9007199254740993\n", "x = 9007199254740993") == [2]


def test_row_rule_with_quotes_inside_a_text_keeps_them(tmp_path):
    quotes = 'id,s\n1,x\n2,"""x"""\n3,it\'s\n'

    assert ids(tmp_path, quotes, "s = '\"x\"'") == [2]
    assert ids(tmp_path, quotes, "s = 'it''s'") == [3]


@pytest.mark.parametrize("name", ["order", "na me", "end", "ünïcode", 'qu"ote', "and", "2024", "a-b", "select"])
def test_row_rule_on_a_column_of_any_name_is_possible(name):
    batch = pa.record_batch({"id": [1, 2], name: [5, 6]})
    quoted = '"' + name.replace('"', '""') + '"'

    for written in (quoted, name) if name in {"order", "na me", "end", "ünïcode", "select"} else (quoted,):
        rule = rule_on(batch.schema, f"{written} = 6 OR {written} > 7")
        assert kept(batch, rule).column(0).to_pylist() == [2]
        assert rule_on(batch.schema, rule_text(rule)) == rule


def test_row_rule_on_single_precision_compares_in_single_precision():
    batch = pa.record_batch({"id": [1, 2, 3], "r": pa.array([0.5, 0.7, None], pa.float32())})

    assert kept(batch, rule_on(batch.schema, "r < 0.7")).column("id").to_pylist() == [1]
    assert kept(batch, rule_on(batch.schema, "r != 0.7")).column("id").to_pylist() == [1]
    with pytest.raises(InvalidInputError):
        rule_on(batch.schema, "r < 1e39")


def test_row_rule_on_floats_holds_minus_zero_and_hides_nan():
    batch = pa.record_batch({"id": [1, 2, 3], "x": [0.0, -0.0, float("nan")]})

    for where in ("x = 0", "x >= 0", "x IN (0)", "x >= -0.0"):
        assert kept(batch, rule_on(batch.schema, where)).column("id").to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("at < 2024-01-01", "at < '2024-01-01T00:00:00+00:00'"),
        ("at < 2024-01-01T01:00:00+02:00", "at < '2023-12-31T23:00:00+00:00'"),
        ("at < 2024-01-01T01:00Z or not (at is null)", "at < '2024-01-01T01:00:00+00:00' OR NOT at IS NULL"),
    ],
)
def test_row_rule_on_a_zoned_column_is_shown_back_in_utc(where, shown):
    schema = pa.schema([("at", pa.timestamp("us", tz="Europe/Berlin"))])

    assert rule_text(rule_on(schema, where)) == shown


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.struct([("a", pa.int64())]), pa.map_(pa.string(), pa.int64())])
@pytest.mark.parametrize("where", ["tags = a", "tags IS NULL", "tags IN ('a')"])
def test_row_rule_on_a_nested_column_is_refused(kind, where):
    with pytest.raises(InvalidInputError, match="no row rule can be on 'tags'"):
        rule_on(pa.schema([("tags", kind)]), where)


def test_row_rule_on_bytes_can_only_ask_for_null():
    batch = pa.record_batch({"raw": pa.array([b"a", None])})

    assert kept(batch, rule_on(batch.schema, "raw IS NOT NULL")).num_rows == 1
    with pytest.raises(InvalidInputError):
        rule_on(batch.schema, "raw = 'a'")


def test_row_rule_is_counted_while_the_file_is_read_once(tmp_path):
    source, tally = opened(tmp_path, PEOPLE, PEOPLE_TYPES), Tally()
    rule = rule_on(source.schema, "consent = true")

    passed = list(counted(source.batches(lambda _d, _a: None), rule, tally))

    assert (sum(batch.num_rows for batch in passed), tally.kept, tally.rows) == (4, 2, 4)
