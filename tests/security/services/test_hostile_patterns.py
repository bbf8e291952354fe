"""Patterns that somebody writes to keep others busy: Python's `re` would need longer than the world has."""

import ast
from pathlib import Path

import pytest
from template_folders import PARAMETERS, QUERY, make_template

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable, effective_inputs, json_schema
from opaque_jobs.domain.patterns import MAX_PATTERN, found_in, matches_whole
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.templates.definition import read_template
from opaque_jobs.templates.parameters import check_parameters
from tests.world import World

EVIL = ["(a+)+$", "(a|a)*", "(a|aa)+", "(.*a){20}", "([a-z]+)*[0-9]", "(?:a?){25}a{25}", "[ab]*a[ab]{200}"]
TEXT = "a" * 4000 + "!"
SOURCES = Path(__file__).parents[3] / "opaque_jobs"


def variable_with(pattern, **over):
    constraint = Constraint(kind=ConstraintKind.PATTERN, value=pattern)
    fields = {"name": "x", "type": InputType.STRING, "description": "", "default": None, "sensitive": False}
    return InputVariable(**(fields | {"constraints": ((constraint,),)} | over))


@pytest.mark.parametrize("pattern", EVIL)
def test_value_is_held_against_a_pattern_that_backtracks_for_ever(pattern):
    assert not matches_whole(pattern, TEXT)
    with pytest.raises(InvalidInputError, match="outside what is allowed"):
        effective_inputs([variable_with(pattern)], {"x": TEXT})


def test_pattern_means_the_whole_value_and_only_lines_that_it_names():
    for pattern, text, whole, found in [
        ("a|ab", "ab", True, True), ("a", "ab", False, True), ("a$", "a\n", False, False), (".", "\n", False, False),
        ("^a$", "b\na", False, False), ("", "", True, True), ("ä.", "äö", True, True), ("a", "\ud800a", False, False),
    ]:  # fmt: skip
        assert (matches_whole(pattern, text), found_in(pattern, text)) == (whole, found), (pattern, text)


def test_airflow_and_browsers_are_given_no_pattern_of_an_author():
    schema = json_schema(variable_with("(a+)+", default="aa"))
    assert "pattern" not in str(schema)
    assert schema["maxLength"] > 0


def test_job_has_no_more_patterns_than_are_matched_in_a_moment():
    group = (Constraint(kind=ConstraintKind.PATTERN, value="a"),) * 16
    two = tuple(variable_with("a", name=name, default="a", constraints=(group,)) for name in ("x", "y"))
    World().make_spec(inputs=(*World().make_spec().inputs, *two))
    with pytest.raises(InvalidInputError, match="too many patterns"):
        World().make_spec(inputs=(*World().make_spec().inputs, *two, variable_with("a", name="z", default="a")))
    with pytest.raises(InvalidInputError):
        matches_whole("a" * (MAX_PATTERN + 1), "")


def template_with(folder, text):
    """Make a template whose parameter `text` has this schema."""
    properties = PARAMETERS["properties"] | {"text": {"type": "string"} | text}
    logic = QUERY + " AND COUNT(*) > length(:text)"
    return read_template(make_template(folder, logic=logic, parameters=PARAMETERS | {"properties": properties}))


@pytest.mark.parametrize("pattern", EVIL)
def test_parameter_is_held_against_a_templates_pattern_that_backtracks_for_ever(tmp_path, pattern):
    template = template_with(tmp_path / "counting", {"pattern": f"^(?:{pattern})$"})
    given = {"datasets": {"people": "staff"}, "column": "age"}
    with pytest.raises(InvalidInputError, match="does not fulfil 'pattern'"):
        check_parameters(template, given | {"text": TEXT}, {"staff": [Column(name="age", type="int64")]})


@pytest.mark.parametrize("text", [{"pattern": "(?=a)a"}, {"pattern": "a" * 301}, {"patternProperties": {"a": {}}}])
def test_template_with_a_pattern_that_is_not_taken_is_refused(tmp_path, text):
    with pytest.raises(InvalidInputError, match="pattern"):
        template_with(tmp_path / "counting", text)


def test_no_pattern_of_others_reaches_the_engine_of_python():
    """Each use of `re` takes a pattern that stands in our own source."""
    strange = []
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            of_re = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "re"
            if of_re and called.attr != "escape" and not isinstance(node.args[0], ast.Constant | ast.JoinedStr):
                strange.append((path.name, node.lineno))
    assert strange == []
