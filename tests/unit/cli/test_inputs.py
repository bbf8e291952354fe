import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.cli.inputs import parse_declarations, parse_values
from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType
from opaque_jobs.errors import InvalidInputError, NotFoundError


def test_declaration_with_default_and_constraints_is_read():
    (variable,) = parse_declarations(["age:integer=40"], ["age:min=18 max=99", "age:one_of=1|2"])
    assert (variable.name, variable.type, variable.default) == ("age", InputType.INTEGER, 40)
    assert variable.constraints == (
        (Constraint(kind=ConstraintKind.MIN, value=18), Constraint(kind=ConstraintKind.MAX, value=99)),
        (Constraint(kind=ConstraintKind.ONE_OF, value=(1, 2)),),
    )


def test_declaration_without_default_is_required():
    assert parse_declarations(["since:datetime"])[0].default is None


def test_declaration_named_sensitive_is_sensitive():
    first, second = parse_declarations(["a:string", "b:string=x"], sensitive=["b"])
    assert (first.sensitive, second.sensitive) == (False, True)


def test_sensitive_value_can_stand_in_a_file(tmp_path):
    file = tmp_path / "value"
    file.write_text("7\n")
    (variable,) = parse_declarations(["a:integer"], sensitive=[f"a={file}"])
    assert (variable.default, variable.sensitive) == (7, True)
    with pytest.raises(NotFoundError):
        parse_declarations(["a:integer"], sensitive=[f"a={tmp_path / 'none'}"])


def test_sensitive_variable_without_a_value_or_a_declaration_is_refused():
    for declarations in (["a:string"], ["b:string=x"]):
        with pytest.raises(InvalidInputError):
            parse_declarations(declarations, sensitive=["a"])


@pytest.mark.parametrize(
    ("declarations", "constraints"),
    [
        (["age"], []),
        (["age:number"], []),
        (["age:integer=old"], []),
        (["age:integer=40"], ["age:least=1"]),
        (["age:integer=40"], ["age:min"]),
        (["age:integer=40"], ["size:min=1"]),
        (["age:integer=4"], ["age:min=5"]),
        ([":integer"], []),
    ],
)
def test_declaration_that_is_wrong_is_refused(declarations, constraints):
    with pytest.raises(InvalidInputError):
        parse_declarations(declarations, constraints)


def test_values_are_read_by_the_declared_types():
    declared = parse_declarations(["a:integer", "b:float", "c:boolean", "d:string", "e:datetime"])
    values = parse_values(declared, ["a=1", "b=2.5", "c=yes", "d=x=y", "e=2026-01-01T00:00:00+00:00"])
    assert values == {"a": 1, "b": 2.5, "c": True, "d": "x=y", "e": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize("pairs", [["zzz=1"], ["a=1", "a=2"], ["a"], ["a=one"]])
def test_values_that_do_not_fit_are_refused_without_showing_them(pairs):
    with pytest.raises(InvalidInputError) as caught:
        parse_values(parse_declarations(["a:integer"]), pairs)
    assert "one" not in caught.value.message.split()


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_integer_values_come_back_as_they_were(number):
    assert parse_values(parse_declarations(["n:integer"]), [f"n={number}"]) == {"n": number}
