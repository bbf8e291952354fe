import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.inputs import InputType
from opaque_jobs.enclave.agent.sql_job import literal, split_statements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1", [(1, "select 1")]),
        ("select 1;", [(1, "select 1")]),
        ("\n-- first; not one\nselect 1;\n\nselect ';' ;", [(3, "select 1"), (5, "select ';'")]),
        ("/* a; b */ select `x;y` from t; ; ", [(1, "select `x;y` from t")]),
        ("select 'it''s; :n', \"a;b\", '\\';' , :n", [(1, "select 'it''s; :n', \"a;b\", '\\';' , (5)")]),
        ("select a::int, m:n, :n+1", [(1, "select a::int, m:n, (5)+1")]),
        ("select :other -- :n", [(1, "select :other")]),
        ("  -- nothing", []),
    ],
)
def test_script_is_split_and_filled_outside_quotes_and_comments(text, expected):
    assert split_statements(text, {"n": "(5)"}) == expected


@given(st.text(alphabet="ab'\"`;-/*\\:\n n", max_size=40))
def test_script_of_any_text_is_split_without_failing(text):
    for line, statement in split_statements(text, {"n": "(5)"}):
        assert 1 <= line <= text.count("\n") + 1
        assert statement.strip() == statement != ""


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (InputType.STRING, "o'clock \\ x", "'o\\'clock \\\\ x'"),
        (InputType.INTEGER, -3, "(-3)"),
        (InputType.FLOAT, 0.5, "0.5D"),
        (InputType.BOOLEAN, True, "TRUE"),
        (InputType.DATETIME, "2026-01-01T00:00:00+00:00", "TIMESTAMP '2026-01-01T00:00:00+00:00'"),
        (InputType.DATASET, "people", "`people`"),
    ],
)
def test_literal_of_each_type_is_sql(kind, value, expected):
    assert literal(kind, value) == expected
