"""Input variables on the command line: declarations such as `min_age:integer=40`, values such as `min_age=50`."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable
from opaque_jobs.errors import InvalidInputError

__all__ = ["DECLARATION_HELP", "parse_declarations", "parse_values"]

DECLARATION_HELP: Final = (
    "Input variable as NAME:TYPE[=DEFAULT]; TYPE is string, integer, float, boolean, datetime or dataset. "
    "Without a default it is required. Repeatable."
)


def _pair(text: str, separator: str, what: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not found or not left.strip():
        raise InvalidInputError(f"{what} is not well formed", hint=f"write it with a '{separator}' after the name")
    return left.strip(), right


def _scalar(kind: InputType, text: str, name: str) -> bool | int | float | str:
    try:
        match kind:
            case InputType.INTEGER:
                return int(text)
            case InputType.FLOAT:
                return float(text)
            case InputType.BOOLEAN:
                return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
            case _:
                return text
    except (ValueError, KeyError):
        raise InvalidInputError(f"input variable '{name}' needs a value of type {kind.value}", hint="check the value") from None


def _constraint(kind: InputType, text: str, name: str) -> Constraint:
    word, value = _pair(text, "=", f"a constraint of '{name}'")
    try:
        which = ConstraintKind(word)
    except ValueError:
        raise InvalidInputError(
            f"input variable '{name}' has an unknown constraint",
            hint="known: " + ", ".join(each.value for each in ConstraintKind),
        ) from None
    if which is ConstraintKind.ONE_OF:
        return Constraint(kind=which, value=tuple(_scalar(kind, item, name) for item in value.split("|")))
    if which in (ConstraintKind.MIN_LENGTH, ConstraintKind.MAX_LENGTH):
        return Constraint(kind=which, value=_scalar(InputType.INTEGER, value, name))
    return Constraint(kind=which, value=value if which is ConstraintKind.PATTERN else _scalar(kind, value, name))


def parse_declarations(
    declarations: Iterable[str], constraints: Iterable[str] = (), *, sensitive: Sequence[str] = ()
) -> tuple[InputVariable, ...]:
    """Parse declarations and their constraints.

    Args:
        declarations: `NAME:TYPE[=DEFAULT]` each.
        constraints: `NAME:min=1 max=9` each: all of one must hold; several for one name are alternatives.
        sensitive: Names of variables whose values are not shown outside the workspace.

    Raises:
        InvalidInputError: One is not well formed, or contradicts itself.
    """
    groups: dict[str, list[str]] = {}
    for text in constraints:
        name, conditions = _pair(text, ":", "a constraint")
        groups.setdefault(name, []).append(conditions)
    variables = []
    for text in declarations:
        name, rest = _pair(text, ":", "an input variable")
        word, has_default, default = rest.partition("=")
        try:
            kind = InputType(word)
        except ValueError:
            raise InvalidInputError(
                f"input variable '{name}' has an unknown type", hint="known: " + ", ".join(each.value for each in InputType)
            ) from None
        variables.append(
            InputVariable(
                name=name,
                type=kind,
                description="",
                default=_scalar(kind, default, name) if has_default else None,
                constraints=tuple(
                    tuple(_constraint(kind, each, name) for each in group.split()) for group in groups.pop(name, [])
                ),
                sensitive=name in sensitive,
            )
        )
    unknown = [*groups, *(set(sensitive) - {variable.name for variable in variables})]
    if unknown:
        raise InvalidInputError(
            "a constraint or --sensitive names an input variable that is not declared", hint="declare it with --declare"
        )
    return tuple(variables)


def parse_values(declarations: Iterable[InputVariable], pairs: Iterable[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` by the declared types; whether values are allowed is the service's to judge.

    Raises:
        InvalidInputError: Not declared, given twice, or not of the type.
    """
    kinds = {variable.name: variable.type for variable in declarations}
    values: dict[str, Any] = {}
    for text in pairs:
        name, value = _pair(text, "=", "an input value")
        if name not in kinds or name in values:
            problem = "is given twice" if name in values else "is not declared by the job"
            raise InvalidInputError(
                f"input variable '{name}' {problem}",
                hint="see the job's input variables with 'opaque-jobs job show'",
            )
        values[name] = _scalar(kinds[name], value, name)
    return values
