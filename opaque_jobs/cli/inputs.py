"""Input variables on the command line: declarations such as `min_age:integer=40`, values such as `min_age=50`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable
from opaque_jobs.errors import InvalidInputError, NotFoundError

__all__ = ["DECLARATION_HELP", "parse_declarations", "parse_values"]

DECLARATION_HELP: Final = (
    "Input variable as NAME:TYPE[=DEFAULT]; TYPE is string, integer, float, boolean, datetime or dataset. "
    "Without a default it is required. SQL says :NAME, Python params['NAME']. Repeatable."
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


def _sensitive(text: str) -> tuple[str, Path | None]:
    name, has_file, file = text.partition("=")
    return name, Path(file) if has_file else None


def _read_value(file: Path, name: str) -> str:
    try:
        return file.read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise NotFoundError(f"the file with the value of '{name}' cannot be read", hint="check the path") from None


def parse_declarations(
    declarations: Iterable[str], constraints: Iterable[str] = (), *, sensitive: Sequence[str] = ()
) -> tuple[InputVariable, ...]:
    """Parse declarations and their constraints.

    Args:
        declarations: `NAME:TYPE[=DEFAULT]` each.
        constraints: `NAME:min=1 max=9` each: all of one must hold; several for one name are alternatives.
        sensitive: `NAME[=FILE]` each: a variable whose value stays out of Airflow; from a file it stays off the command line too.

    Raises:
        InvalidInputError: One is not well formed, or contradicts itself.
        NotFoundError: A file cannot be read.
    """
    files = dict(_sensitive(text) for text in sensitive)
    groups: dict[str, list[str]] = {}
    for text in constraints:
        name, conditions = _pair(text, ":", "a constraint")
        groups.setdefault(name, []).append(conditions)
    variables = []
    for text in declarations:
        name, rest = _pair(text, ":", "an input variable")
        word, has_default, default = rest.partition("=")
        file = files.get(name)
        if file is not None:
            has_default, default = "=", _read_value(file, name)
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
                sensitive=name in files,
            )
        )
    unknown = [*groups, *(set(files) - {variable.name for variable in variables})]
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
