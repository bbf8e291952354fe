"""The first look at SQL: it points at a place, keeps quiet about good SQL and about what the text says."""

import pytest

from opaque_jobs.cli.sql_check import sql_warnings, warn
from opaque_jobs.domain.job import Code, Language
from tests.tpch.queries import QUERIES


def places(text):
    return [(each.line, each.column) for each in sql_warnings(Code(language=Language.SQL, text=text))]


@pytest.mark.parametrize("number", sorted(QUERIES))
def test_every_tpch_query_has_no_warning(number):
    assert places(QUERIES[number].sql(scale_factor=1)) == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ward, count(*) AS n FROM visits WHERE age >= :floor GROUP BY ward",
        "CREATE TEMPORARY VIEW v AS SELECT 1 AS a;\nSELECT * FROM v;",
        "SELECT * FROM :source",
        "SELECT a FROM t LATERAL VIEW explode(b) AS c",
        "FROM t |> WHERE a > 1 |> SELECT b",
        "ALTER TABLE secret_name ENGAGE other",
    ],
)
def test_sql_that_spark_may_know_has_no_warning_and_nothing_is_logged(text, caplog, capfd):
    assert places(text) == []
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT count(* FROM visits", 1),
        ("SELECT a\nFROM visits\nWHERE", 3),
        ("SELECT 1;\nSELECT 'secret-text FROM visits", 2),
        ("SELEC a FROM visits", 1),
    ],
)
def test_sql_that_does_not_parse_is_pointed_at_without_its_text(text, line, capsys):
    found = sql_warnings(Code(language=Language.SQL, text=text))
    assert [each.line for each in found] == [line]
    warn(found)
    said = " ".join(capsys.readouterr().err.split())
    assert f"line {line}, column {found[0].column}" in said
    assert "visits" not in said
    assert "secret" not in said


def test_python_and_no_code_are_not_looked_at():
    assert sql_warnings(None) == []
    assert sql_warnings(Code(language=Language.PYTHON, text="SELECT 'x")) == []


def test_sql_nested_beyond_the_parser_is_left_to_the_engine():
    assert places("SELECT " + "(" * 20_000 + "1" + ")" * 20_000) == []
