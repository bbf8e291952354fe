"""Whatever names and values the author gives, they stay names and values."""

import ast
import json
from typing import Any

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from opaque_jobs.domain.dataset import Column
from opaque_jobs.templates import BUILT_IN
from opaque_jobs.templates.definition import Template, read_template
from opaque_jobs.templates.rendering import render
from tests.support.template_folders import make_template

HOSTILE = [
    "`", "``", "a` FROM x --", "'; DROP TABLE x; --", '"', "\\", "\\'", "'\\''", "a\nb", "a\r\nb", "*/", "/*+ hint */",
    "--", "{{x}}", "%s", "$x", ":min_count", "?", "é", "数", "\u202e", "\u2028", "\x85", "item.first", "1",
    "select", "", " ", "\x00", "😀", "${x}",
]  # fmt: skip
texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=40))
names = texts.filter(bool)
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["column", "text", "number", "whole", "flag"],
    "properties": {
        "column": {"type": "string", "x-column-of": "people"},
        "text": {"type": "string"},
        "number": {"type": "number"},
        "whole": {"type": "integer"},
        "flag": {"type": "boolean"},
    },
}
QUERY = (
    "SELECT named(column_of(column), 'c'), :text AS t, :number AS n, :whole AS w, :flag AS f "
    "FROM people WHERE column_of(column) = :text"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return read_template(make_template(tmp_path_factory.mktemp("t") / "counting", parameters=PARAMETERS, logic=QUERY))


def shape(node: exp.Expr) -> Any:
    """Give a tree with names and values masked."""
    if isinstance(node, exp.Literal):
        return ("literal", node.is_string)
    if isinstance(node, exp.Identifier):
        return "identifier"
    if isinstance(node, exp.Neg):
        return shape(node.this)
    children = [child for value in node.args.values() for child in (value if isinstance(value, list) else [value])]
    return (type(node).__name__, [shape(child) for child in children if isinstance(child, exp.Expr)])


@settings(deadline=None)
@given(
    name=names,
    text=texts,
    number=st.floats(allow_nan=False, allow_infinity=False),
    whole=st.integers(-(2**53) + 1, 2**53 - 1),
)
def test_sql_of_hostile_names_and_values_has_the_same_tree(template, name, text, number, whole):
    def tree(column: str, **values: Any) -> exp.Expr:
        parameters = {"datasets": {"people": "people"}, "column": column, **values}
        code = render(template, parameters, {"people": (Column(name=column, type="string"),)}).code
        statements = sqlglot.parse(code.text, read="spark")
        assert len(statements) == 1
        return statements[0]

    rendered = tree(name, text=text, number=number, whole=whole, flag=True)
    harmless = tree("x", text="x", number=1.5 if number != int(number) or abs(number) > 2**53 else 1, whole=1, flag=True)
    if number == int(number):
        rendered.selects[2].replace(exp.Literal.number(1))
        harmless.selects[2].replace(exp.Literal.number(1))
    assert shape(rendered) == shape(harmless)
    assert {column.name for column in rendered.find_all(exp.Column)} == {name}
    assert rendered.selects[1].this.this == text


@settings(deadline=None)
@given(name=names, text=texts)
def test_python_of_hostile_names_and_values_differs_in_one_constant_only(name, text):
    template = read_template(BUILT_IN / "logistic-regression")

    def tree(column: str, positive: str) -> ast.Module:
        parameters = {
            "datasets": {"features": "a", "labels": "b"},
            "keys": [{"features": column, "labels": column}],
            "features": [column],
            "label": column,
            "positive": positive,
        }
        columns = (Column(name=column, type="double"),)
        return ast.parse(render(template, parameters, {"a": columns, "b": columns}).code.text)

    def constant(module: ast.Module) -> ast.Constant:
        (found,) = (
            node.value
            for node in module.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "TEMPLATE"
        )
        assert isinstance(found, ast.Constant)
        return found

    rendered, harmless = tree(name, text), tree("x", "x")
    document = json.loads(constant(rendered).value)
    assert document["positive"] == text
    assert document["features"] == [name]
    constant(rendered).value = constant(harmless).value = ""
    assert ast.dump(rendered) == ast.dump(harmless)
