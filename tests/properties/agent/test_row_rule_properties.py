"""Owners' rules on generated rows: the enclave's engine (in a hostile session), Arrow, DuckDB and Python keep the same rows."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from opaque_jobs.crypto.parquet_schema import manifest_columns
from opaque_jobs.data.row_rules import parse_rules, rule_text
from opaque_jobs.data.row_trial import kept
from opaque_jobs.data.test_data import write_test_data
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.domain.row_rule import Family, Joint, RowGroup, RowOperator, RowRule, RowTest
from tests.support.enclave_probe import run_probe

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("flag", pa.bool_()),
        ("small", pa.int8()),
        ("whole", pa.int64()),
        ("unsigned", pa.uint64()),
        ("money", pa.decimal128(18, 2)),
        ("wide", pa.decimal128(38, 10)),
        ("single", pa.float32()),
        ("ratio", pa.float64()),
        ("day", pa.date32()),
        ("local", pa.timestamp("us")),
        ("at", pa.timestamp("us", tz="Europe/Berlin")),
        ("note", pa.string()),
    ]
)
COLUMNS = {column.name: column for column in manifest_columns(SCHEMA)}
"""Few values each, so that rules meet them; edges of types, the time around midnight, and texts that a pattern could mistake."""
VALUES = {
    "flag": [True, False],
    "small": [-128, -1, 0, 1, 127],
    "whole": [-(2**63), -1, 0, 9007199254740992, 9007199254740993, 2**63 - 1],
    "unsigned": [0, 1, 2**63, 2**64 - 1],
    "money": [Decimal(text) for text in ("-0.01", "0.00", "0.30", "90071992547409.93", "90071992547409.94")],
    "wide": [Decimal(text) for text in ("0E-10", "1234567890123456789012345678.0123456789", "-0.0000000001")],
    "single": [0.0, -0.0, 0.5, 0.699999988079071, float("nan"), float("inf"), float("-inf")],
    "ratio": [0.0, -0.0, 0.1, 0.3, 0.30000000000000004, float("nan"), float("inf"), float("-inf"), 5e-324],
    "day": [date(2024, 1, 1), date(2023, 12, 31), date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31)],
    "local": [MOMENT.replace(tzinfo=None) + timedelta(microseconds=us) for us in (-1, 0, 1, 3_600_000_000)],
    "at": [MOMENT + timedelta(microseconds=us) for us in (-1, 0, 1, 3_600_000_000, -3_600_000_000, 43_200_000_000)],
    "note": ["", "a", "A", "ab", "a%b", "a_b", "a\\b", "a\nb", "é", "\U0001f600", "x" * 30, "'", '"'],
}
ORDERED = (
    RowOperator.EQUAL, RowOperator.NOT_EQUAL, RowOperator.LESS, RowOperator.LESS_OR_EQUAL, RowOperator.GREATER,
    RowOperator.GREATER_OR_EQUAL, RowOperator.IN,
)  # fmt: skip
PATTERNS = ["%", "_", "a%", "%b", "a_b", r"a\_b", r"a\%b", r"a\\b", "", "%\n%", "é", "__"]


def canonical(name: str, value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


@st.composite
def row_tests(draw) -> RowTest:
    name = draw(st.sampled_from(sorted(VALUES)))
    kind = COLUMNS[name].type
    operators = [RowOperator.EQUAL, RowOperator.NOT_EQUAL, RowOperator.IN] if name == "flag" else list(ORDERED)
    operators += [RowOperator.IS_NULL, *([RowOperator.LIKE] if name == "note" else [])]
    operator = draw(st.sampled_from(operators))
    usable = [value for value in VALUES[name] if not isinstance(value, float) or (abs(value) < 1e300 and str(value) != "-0.0")]
    values: list[str] = []
    if operator is RowOperator.LIKE:
        values = [draw(st.sampled_from(PATTERNS))]
    elif operator is not RowOperator.IS_NULL:
        most = 4 if operator is RowOperator.IN else 1
        chosen = draw(st.lists(st.sampled_from(usable), min_size=1, max_size=most, unique=True))
        values = [canonical(name, value) for value in chosen]
    return RowTest(column=name, type=kind, operator=operator, values=tuple(values))


def groups(children):
    joined = st.tuples(st.sampled_from([Joint.AND, Joint.OR]), st.lists(children, min_size=2, max_size=3))
    negated = children.map(lambda rule: RowGroup(joint=Joint.NOT, rules=(rule,)))
    return st.one_of(joined.map(lambda pair: RowGroup(joint=pair[0], rules=tuple(pair[1]))), negated)


RULES = st.recursive(row_tests(), groups, max_leaves=6)
ROW = st.fixed_dictionaries({name: st.one_of(st.none(), st.sampled_from(values)) for name, values in VALUES.items()})
TABLES = st.lists(ROW, min_size=1, max_size=25).map(
    lambda rows: pa.Table.from_pylist([{"id": number, **row} for number, row in enumerate(rows)], schema=SCHEMA)
)


def by_python(rule: RowRule, row: dict) -> bool | None:  # noqa: PLR0911 - one return for each case
    """SQL's three values, written down again."""
    if isinstance(rule, RowGroup):
        parts = [by_python(each, row) for each in rule.rules]
        if rule.joint is Joint.NOT:
            return None if parts[0] is None else not parts[0]
        decides = rule.joint is Joint.OR
        return decides if decides in parts else None if None in parts else not decides
    value = row[rule.column]
    if rule.operator is RowOperator.IS_NULL:
        return value is None
    if value is None:
        return None
    if rule.operator is RowOperator.LIKE:
        pieces = re.findall(r"\\.|.", rule.values[0], re.DOTALL)
        pattern = "".join({"%": ".*", "_": "."}.get(each) or re.escape(each[-1]) for each in pieces)
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    wanted = rule.typed[0]
    if rule.operator is RowOperator.IN:
        return value in rule.typed
    return {
        RowOperator.EQUAL: value == wanted,
        RowOperator.NOT_EQUAL: value != wanted,
        RowOperator.LESS: value < wanted,
        RowOperator.LESS_OR_EQUAL: value <= wanted,
        RowOperator.GREATER: value > wanted,
        RowOperator.GREATER_OR_EQUAL: value >= wanted,
    }[rule.operator]


DUCK = {
    "bool": "BOOLEAN", "int8": "TINYINT", "int64": "BIGINT", "uint64": "UBIGINT", "float": "FLOAT", "double": "DOUBLE",
    "date32[day]": "DATE", "timestamp[us]": "TIMESTAMP", "string": "VARCHAR",
}  # fmt: skip


def in_duckdb(rule: RowRule) -> str:
    if isinstance(rule, RowGroup):
        parts = [f"({in_duckdb(each)})" for each in rule.rules]
        return f"NOT {parts[0]}" if rule.joint is Joint.NOT else f" {rule.joint.value} ".join(parts)
    kind = DUCK.get(
        rule.type, "TIMESTAMPTZ" if rule.family is Family.TIMESTAMP_TZ else rule.type.replace("decimal128", "DECIMAL")
    )
    values = ["CAST('" + text.replace("'", "''") + f"' AS {kind})" for text in rule.values]
    column = f'"{rule.column}"'
    if rule.operator is RowOperator.IS_NULL:
        return f"{column} IS NULL"
    if rule.operator is RowOperator.IN:
        return f"{column} IN ({', '.join(values)})"
    if rule.operator is RowOperator.LIKE:
        return f"{column} LIKE {values[0]} ESCAPE '\\'"
    compared = f"{column} {rule.operator.value} {values[0]}"
    above = rule.family is Family.FLOAT and rule.operator in {RowOperator.GREATER, RowOperator.GREATER_OR_EQUAL}
    return f"({compared} AND NOT isnan({column}))" if above else compared


def by_duckdb(table: pa.Table, rule: RowRule) -> list[int]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", table)
        return sorted(row[0] for row in connection.execute(f"SELECT id FROM t WHERE {in_duckdb(rule)}").fetchall())  # noqa: S608


def expected(table: pa.Table, rule: RowRule) -> list[int]:
    return [row["id"] for row in table.to_pylist() if by_python(rule, row)]


def by_arrow(table: pa.Table, rule: RowRule) -> list[int]:
    return [number for batch in table.to_batches() for number in kept(batch, rule).column("id").to_pylist()]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(table=TABLES, rules=st.lists(RULES, min_size=1, max_size=8))
def test_row_rule_keeps_the_same_rows_in_arrow_duckdb_and_python(table, rules):
    for rule in rules:
        right = expected(table, rule)
        assert by_arrow(table, rule) == right
        assert by_duckdb(table, rule) == right


@settings(max_examples=300, deadline=None)
@given(rule=RULES)
def test_row_rule_shown_back_reads_as_the_same_rule(rule):
    again = parse_rules([rule_text(rule)], list(COLUMNS.values()))

    assert parse_rules([rule_text(again)], list(COLUMNS.values())) == again
    assert from_json(RowTest | RowGroup, to_json(again), what="rule") == again
    table = pa.Table.from_pylist([{"id": n, **{k: v[n % len(v)] for k, v in VALUES.items()}} for n in range(20)], schema=SCHEMA)
    assert by_arrow(table, again) == by_arrow(table, rule)


def generated(count: int) -> list[tuple[pa.Table, list[RowRule]]]:
    found: list[tuple[pa.Table, list[RowRule]]] = []

    @seed(20240101)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(table=TABLES, rules=st.lists(RULES, min_size=12, max_size=12))
    def collect(table, rules):
        found.append((table, rules))

    collect()
    return found


FLOATS = {"minus_zero": [-0.0] * 3, "zeros": [0.0, -0.0, 1.0], "nan": [0.1, float("nan"), 0.7], "hidden": [0.1, float("nan")]}
FLOAT_QUERIES = {
    ("minus_zero", "x = 0"): 3,
    ("zeros", "x = 0"): 2,
    ("zeros", "x >= 0"): 3,
    ("zeros", "x IN (0)"): 2,
    ("zeros", "x < 0"): 0,
    ("nan", "x >= 0.3"): 2,
    ("hidden", "x >= 0.3"): 1,  # the engine takes NaN for the largest number, in a filter as in a comparison
}


def float_query(table: str, condition: str, *, filtered: bool) -> str:
    """Count by a filter, or by a comparison that nobody moves into a file's index."""
    if filtered:
        return f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608
    return f"SELECT sum(CAST({condition} AS INT)) FROM {table}"  # noqa: S608


@pytest.fixture(scope="module")
def seen(enclave_runtime, tmp_path_factory):
    """All that is asked of one engine: rules on generated tables, and queries on columns of floats."""
    data = tmp_path_factory.mktemp("data")
    made = tmp_path_factory.mktemp("made")
    cases, right = [], []
    for number, (table, rules) in enumerate(generated(12)):
        (write_test_data(table, made / str(number)) / "part-00000.parquet").rename(data / f"{number}.parquet")
        cases.append({"file": f"{number}.parquet", "rules": [to_json(rule) for rule in rules]})
        right += [expected(table, rule) for rule in rules]
    for name, values in FLOATS.items():
        table = pa.table({"id": range(len(values)), "x": values})
        (write_test_data(table, made / name) / "part-00000.parquet").rename(data / f"{name}.parquet")
    (data / "cases.json").write_text(json.dumps(cases))
    queries = [float_query(*each, filtered=filtered) for each in FLOAT_QUERIES for filtered in (True, False)]
    (data / "queries.json").write_text(json.dumps({"tables": list(FLOATS), "queries": queries}))
    report = run_probe(enclave_runtime, Path(__file__).with_name("rule_probe.py"), data=data, out=made / "out")
    return {"rules": [rule for case in cases for rule in case["rules"]], "right": right, **report}


@pytest.mark.spark
def test_row_rule_keeps_the_same_rows_in_the_enclave_whatever_the_session_says(seen):
    answers = zip(seen["rules"], seen["kept"], seen["right"], strict=True)

    assert [(rule, found, right) for rule, found, right in answers if found != right] == []


@pytest.mark.spark
def test_authors_filter_on_floats_counts_what_the_comparison_counts(seen):
    right = [count for count in FLOAT_QUERIES.values() for _filtered in (True, False)]

    assert seen["counts"] == right
