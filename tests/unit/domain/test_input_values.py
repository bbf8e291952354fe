"""Input variables: types, constraints, defaults, and declarations that contradict themselves."""

import pytest

from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable, effective_inputs
from opaque_jobs.errors import InvalidInputError


def make_variable(**over):
    given = {"name": "x", "type": InputType.INTEGER, "description": "", "default": None, "constraints": (), "sensitive": False}
    return InputVariable(**(given | over))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (InputType.STRING, "text", 1),
        (InputType.INTEGER, 3, True),
        (InputType.INTEGER, 3, 3.0),
        (InputType.INTEGER, 2**53 - 1, 2**53),
        (InputType.FLOAT, 2.5, "2.5"),
        (InputType.FLOAT, 2, float("inf")),
        (InputType.BOOLEAN, False, 0),
        (InputType.DATETIME, "2026-03-01T10:00:00+01:00", "2026-03-01T10:00:00"),
        (InputType.DATASET, "patients", "others"),
    ],
)
def test_value_of_another_type_is_refused_without_showing_it(kind, good, bad):
    variable = make_variable(type=kind)
    assert effective_inputs([variable], {"x": good}, aliases=["patients"]) == {"x": good}
    with pytest.raises(InvalidInputError) as caught:
        effective_inputs([variable], {"x": bad}, aliases=["patients"])
    assert str(bad) not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("kind", "group", "good", "bad"),
    [
        (InputType.INTEGER, [(ConstraintKind.MIN, 2), (ConstraintKind.MAX, 4)], [2, 4], [1, 5]),
        (InputType.STRING, [(ConstraintKind.PATTERN, "a+")], ["a", "aaa"], ["", "ab", "ba"]),
        (InputType.STRING, [(ConstraintKind.MIN_LENGTH, 1), (ConstraintKind.MAX_LENGTH, 2)], ["é", "ab"], ["", "abc"]),
        (InputType.STRING, [(ConstraintKind.ONE_OF, ("a", "b"))], ["a"], ["c"]),
        (
            InputType.DATETIME,
            [(ConstraintKind.MIN, "2026-01-01T00:00:00+00:00")],
            ["2026-01-01T01:00:00+01:00"],
            ["2026-01-01T00:30:00+01:00"],
        ),
    ],
)
def test_constraints_of_a_group_must_all_hold(kind, group, good, bad):
    constraints = (tuple(Constraint(kind=word, value=value) for word, value in group),)
    variable = make_variable(type=kind, constraints=constraints)
    for value in good:
        assert effective_inputs([variable], {"x": value}) == {"x": value}
    for value in bad:
        with pytest.raises(InvalidInputError):
            effective_inputs([variable], {"x": value})


def test_one_group_of_several_is_enough():
    low = (Constraint(kind=ConstraintKind.MAX, value=0),)
    high = (Constraint(kind=ConstraintKind.MIN, value=10),)
    variable = make_variable(constraints=(low, high))
    assert effective_inputs([variable], {"x": -5}) == {"x": -5}
    assert effective_inputs([variable], {"x": 15}) == {"x": 15}
    with pytest.raises(InvalidInputError):
        effective_inputs([variable], {"x": 5})


def test_unknown_input_name_is_refused():
    with pytest.raises(InvalidInputError):
        effective_inputs([], {"x": 1})


def test_missing_value_without_default_is_refused():
    with pytest.raises(InvalidInputError):
        effective_inputs([make_variable()], {})


@pytest.mark.parametrize(
    "over",
    [
        {"name": "1x"},
        {"description": "d" * 151},
        {"default": "text"},
        {"constraints": ((),)},
        {"constraints": ((Constraint(kind=ConstraintKind.PATTERN, value="a"),),)},
        {"constraints": ((Constraint(kind=ConstraintKind.MIN, value="a"),),)},
        {"type": InputType.STRING, "constraints": ((Constraint(kind=ConstraintKind.PATTERN, value="("),),)},
        {"type": InputType.STRING, "constraints": ((Constraint(kind=ConstraintKind.ONE_OF, value=()),),)},
        {"default": 1, "constraints": ((Constraint(kind=ConstraintKind.MIN, value=2),),)},
    ],
)
def test_declaration_that_contradicts_itself_is_refused(over):
    with pytest.raises(InvalidInputError):
        make_variable(**over)


def test_default_meets_its_pattern():
    pattern = Constraint(kind=ConstraintKind.PATTERN, value="(a+)+")
    with pytest.raises(InvalidInputError):
        make_variable(type=InputType.STRING, default="ab", constraints=((pattern,),))
    make_variable(type=InputType.STRING, default="aa", constraints=((pattern,),))


@pytest.mark.parametrize("pattern", ["(?=a)a", r"(a)\1", "[", "a" * 301, "(?:(?:a{1,100}){1,100}){1,100}", "\ud800"])
def test_pattern_that_is_not_taken_is_refused_when_it_is_declared_and_not_shown(pattern):
    constraint = Constraint(kind=ConstraintKind.PATTERN, value=pattern)
    with pytest.raises(InvalidInputError, match="has a pattern that is not taken") as refused:
        make_variable(type=InputType.STRING, constraints=((constraint,),))
    assert refused.value.hint
    assert pattern not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01'10:00:00+01:00",
        "2026-03-01\\10:00:00+01:00",
        "2026-03-01\n10:00:00+01:00",
        "2026-03-01T10:00:00+01:00\n",
        "20260301T100000+0100",
        "2026-W09-7T10:00:00+01:00",
        "2026-03-01T10:00:00+01:00:30",
        "\uff12026-03-01T10:00:00+01:00",
    ],
)
def test_datetime_that_only_python_takes_is_refused_because_it_is_written_into_sql(text):
    with pytest.raises(InvalidInputError):
        effective_inputs([make_variable(type=InputType.DATETIME)], {"x": text})


@pytest.mark.parametrize("text", ["2026-03-01T10:00Z", "2026-03-01 10:00:00.123456789-05:30"])
def test_datetime_of_rfc_3339_passes_as_it_is(text):
    assert effective_inputs([make_variable(type=InputType.DATETIME)], {"x": text}) == {"x": text}
