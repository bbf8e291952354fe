"""Parameters are checked before anything is rendered, and every rendering of a built-in template computes what it should."""

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pytest
import sqlglot
from jsonschema import Draft202012Validator

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.job import Code, Language
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.templates import BUILT_IN
from opaque_jobs.templates.conformance import check_template
from opaque_jobs.templates.definition import read_template
from opaque_jobs.templates.registry import load_catalogue
from opaque_jobs.templates.rendering import render
from tests.support.template_folders import as_rows, as_table, make_template

DATASETS = {
    "hospital": (Column(name="patient id", type="string"), Column(name="mean radius", type="double")),
    "lab": (Column(name="patient", type="string"), Column(name="diagnosis", type="string"), Column(name="nr", type="int32")),
}
SECRET = "canary-value"


def overlap(**over: Any) -> dict[str, Any]:
    base = {"datasets": {"first": "hospital", "second": "lab"}, "keys": [{"first": "patient id", "second": "patient"}]}
    return base | over


def run_in_duckdb(code: Code, datasets: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    with duckdb.connect() as connection:
        for alias, data in datasets.items():
            connection.register(alias, as_table(data))
        (text,) = sqlglot.transpile(code.text, read="spark", write="duckdb")
        return as_rows(connection.sql(text).to_arrow_table())


@pytest.mark.parametrize("name", ["overlap-count", "join-and-aggregate"])
def test_built_in_sql_template_passes_its_own_tests_in_another_engine(name):
    check_template(BUILT_IN / name, run=run_in_duckdb)


def test_built_in_python_template_renders_the_same_each_time():
    check_template(BUILT_IN / "logistic-regression")


EXAMPLE_COLUMNS = {
    "visits": ("patient", "cost", "ward"),
    "cases": ("person", "region"),
    "measurements": ("patient", "radius", "texture"),
    "diagnoses": ("person", "diagnosis"),
}


@pytest.mark.parametrize("template", load_catalogue(environ={}).templates, ids=lambda each: each.name)
def test_example_of_a_built_in_template_is_valid_by_its_schema_and_renders(template):
    example = template.example
    assert template.parameters["examples"] == [example]
    Draft202012Validator(template.parameters).validate(example)
    numbers = {"cost", "radius", "texture"}
    datasets = {
        alias: tuple(Column(name=name, type="double" if name in numbers else "string") for name in EXAMPLE_COLUMNS[alias])
        for alias in example["datasets"].values()
    }
    assert render(template, example, datasets).columns.keys() == datasets.keys()


def test_example_of_a_template_that_gives_none_is_its_first_tests(tmp_path):
    template = read_template(make_template(tmp_path / "counting"))
    assert template.example is None
    folder = shutil.copytree(BUILT_IN / "overlap-count", tmp_path / "copy")
    document = json.loads((folder / "template.json").read_text())
    del document["parameters"]["examples"]
    (folder / "template.json").write_text(json.dumps(document))
    template = read_template(folder)
    assert template.example == template.cases[0].parameters


def test_conformance_check_of_an_example_that_the_schema_refuses_fails(tmp_path):
    folder = shutil.copytree(BUILT_IN / "overlap-count", tmp_path / "copy")
    document = json.loads((folder / "template.json").read_text())
    del document["parameters"]["examples"][0]["datasets"]
    (folder / "template.json").write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match="has an example"):
        check_template(folder)


def test_conformance_check_of_a_wrong_expectation_fails(tmp_path):
    folder = make_template(tmp_path / "counting")
    (folder / "tests").mkdir()
    case = {
        "v": 1,
        "parameters": {"datasets": {"people": "people"}, "column": "a", "least": 1},
        "datasets": {"people": {"columns": [{"name": "a", "type": "int64"}], "rows": [[1], [1]]}},
        "expected": {"columns": ["value", "n"], "rows": [[1, 3]], "ordered": False, "tolerance": 0},
    }
    (folder / "tests" / "case.json").write_text(json.dumps(case))
    with pytest.raises(InvalidInputError, match="another result"):
        check_template(folder, run=run_in_duckdb)
    case["expected"]["rows"] = [[1, 2]]
    (folder / "tests" / "case.json").write_text(json.dumps(case))
    check_template(folder, run=run_in_duckdb)


def test_conformance_check_of_a_template_without_tests_fails(tmp_path):
    with pytest.raises(InvalidInputError, match="no test"):
        check_template(make_template(tmp_path / "counting"))


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"keys": []}, r"'keys' does not fulfil 'minItems: 1'"),
        ({"keys": [{"first": "patient id"}]}, r"'keys\[0\]': 'second' is missing"),
        ({"keys": [{"first": 5, "second": "patient"}]}, r"'keys\[0\]\.first' does not fulfil 'type: string'"),
        ({"keys": [{"first": SECRET, "second": "patient"}]}, r"'keys\[0\]\.first' names a column"),
        ({"keys": [{"first": "mean radius", "second": "patient"}]}, "cannot be compared"),
        ({"min_count": 1}, "'min_count' does not fulfil 'minimum: 2'"),
        ({"min_count": SECRET}, "'min_count' does not fulfil 'type: integer'"),
        ({SECRET: 1}, "a name that is not known"),
        ({"datasets": {"first": "hospital"}}, "'second' is missing"),
        ({"datasets": {"first": "hospital", "second": SECRET}}, r"'datasets\.second' names a data set"),
        ({"datasets": {"first": "lab", "second": "lab"}, "keys": [{"first": "nr", "second": "nr"}]}, "the same"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name_without_their_value(over, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        render(read_template(BUILT_IN / "overlap-count"), overlap(**over), DATASETS)
    assert SECRET not in repr(caught.value)
    assert SECRET not in caught.value.hint


def test_rendering_lists_the_columns_that_are_needed_and_fills_in_defaults():
    rendered = render(read_template(BUILT_IN / "overlap-count"), overlap(), DATASETS)
    assert rendered.columns == {"hospital": ("patient id",), "lab": ("patient",)}
    assert rendered.use.parameters["min_count"] == 10
    assert rendered.code.language is Language.SQL
    assert rendered.use.digest in rendered.code.text


def test_rendering_of_two_output_columns_of_one_name_is_refused():
    parameters = overlap(
        group_by=[{"dataset": "second", "column": "diagnosis"}],
        aggregates=[{"function": "count", "of": {"dataset": "second", "column": "nr"}}] * 1
        + [{"function": "count", "of": {"dataset": "first", "column": "NR"}}],
    )
    hospital = (*DATASETS["hospital"], Column(name="NR", type="int64"))
    with pytest.raises(InvalidInputError, match="same name"):
        render(read_template(BUILT_IN / "join-and-aggregate"), parameters, {**DATASETS, "hospital": hospital})


def test_rendering_of_a_sum_over_text_is_refused():
    parameters = overlap(
        group_by=[{"dataset": "second", "column": "diagnosis"}],
        aggregates=[{"function": "sum", "of": {"dataset": "second", "column": "patient"}}],
    )
    with pytest.raises(InvalidInputError, match="numbers"):
        render(read_template(BUILT_IN / "join-and-aggregate"), parameters, DATASETS)


@pytest.mark.parametrize("function", ["min", "max", "first", "collect_list"])
def test_rendering_of_a_function_that_shows_single_values_is_refused(function):
    parameters = overlap(
        group_by=[{"dataset": "second", "column": "diagnosis"}],
        aggregates=[{"function": function, "of": {"dataset": "second", "column": "nr"}}],
    )
    with pytest.raises(InvalidInputError, match=r"aggregates\[0\]\.function"):
        render(read_template(BUILT_IN / "join-and-aggregate"), parameters, DATASETS)


def test_rendering_of_a_feature_that_is_text_is_refused():
    parameters = {
        "datasets": {"features": "hospital", "labels": "lab"},
        "keys": [{"features": "patient id", "labels": "patient"}],
        "features": ["mean radius", "patient id"],
        "label": "diagnosis",
        "positive": "M",
    }
    with pytest.raises(InvalidInputError, match="type string"):
        render(read_template(BUILT_IN / "logistic-regression"), parameters, DATASETS)


@pytest.mark.parametrize(
    "logic",
    [
        "SELECT FROM",
        "SELECT 1 AS a FROM people; SELECT 2 AS b",
        "DROP TABLE people",
        "SELECT :none AS a FROM people",
        "SELECT column_of(none) AS a FROM people",
        "SELECT column_of(least) AS a FROM people",
        "SELECT for_each(column, column_of(item)) AS a FROM people",
        "SELECT column_of(column) AS a FROM other",
        "SELECT aggregated(column, column_of(column)) AS a FROM people",
        "SELECT column_of(column) AS a FROM parquet.`/etc/passwd`",
    ],
)
def test_template_with_wrong_logic_is_refused_when_rendered(tmp_path, logic):
    template = read_template(make_template(tmp_path / "counting", logic=logic))
    people = {"people": (Column(name="x", type="int64"),)}
    with pytest.raises(InvalidInputError, match="template 'counting'"):
        render(template, {"datasets": {"people": "people"}, "column": "x"}, people)
