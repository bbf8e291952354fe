"""Input variables: typed values that a runner gives within what the members approved.

The same function validates them in the trigger form's service, at each broker and inside the enclave.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from opaque_jobs.domain.ids import check_identifier, check_text
from opaque_jobs.domain.patterns import check_pattern, matches_whole
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "Constraint",
    "ConstraintKind",
    "InputType",
    "InputVariable",
    "check_settable",
    "effective_inputs",
    "json_schema",
    "parse_datetime",
]

Scalar = str | int | float | bool
MAX_STRING: Final = 4096
_DATETIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
"""Python alone takes any character between date and time, a quotation mark too, and the text is written into SQL."""


class InputType(StrEnum):
    """Type of an input variable; on the wire all are JSON scalars."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    DATASET = "dataset"


class ConstraintKind(StrEnum):
    """What a constraint says."""

    MIN = "min"
    MAX = "max"
    ONE_OF = "one_of"
    PATTERN = "pattern"
    MIN_LENGTH = "min_length"
    MAX_LENGTH = "max_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One condition on a value.

    Args:
        kind: What it says.
        value: A bound, a pattern (`domain.patterns`, whole match), a length in characters, or a tuple for `ONE_OF`.
    """

    kind: ConstraintKind
    value: bool | int | float | str | tuple[bool | int | float | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputVariable:
    """Declaration of an input variable.

    Args:
        name: Identifier that the code uses.
        type: Its type. `DATETIME` is RFC 3339 text with an offset; `DATASET` is the alias of a declared data set.
        description: For people, up to 150 characters.
        default: Value if none is given; None makes the variable required.
        constraints: An OR of ANDs; empty allows every value of the type.
        sensitive: The value is the default, which members approve with the job, and no run is given one: what a run is given
            passes through Airflow.

    Raises:
        InvalidInputError: The declaration contradicts itself.
    """

    name: str
    type: InputType
    description: str
    default: bool | int | float | str | None
    constraints: tuple[tuple[Constraint, ...], ...]
    sensitive: bool

    def __post_init__(self) -> None:
        check_identifier(self.name, what="input variable")
        check_text(self.description, what="input variable's description", limit=150)
        for group in self.constraints:
            if not group:
                raise _wrong(self.name, "has an empty group of constraints", "leave the group out")
            for constraint in group:
                _check_constraint(self, constraint)
        if self.sensitive and self.default is None:
            raise _wrong(self.name, "is sensitive and has no value", "give it one in its declaration: no run may be given any")
        if self.default is not None and self.type is not InputType.DATASET:
            _check_value(self, self.default)

    @property
    def patterns(self) -> int:
        """How many patterns its constraints have."""
        return sum(each.kind is ConstraintKind.PATTERN for group in self.constraints for each in group)


def check_settable(variables: Iterable[InputVariable], names: Collection[str]) -> None:
    """Check which variables runs may be given.

    Raises:
        InvalidInputError: One is sensitive.
    """
    for variable in variables:
        if variable.sensitive and variable.name in names:
            raise _wrong(
                variable.name, "is sensitive, so no run may be given a value for it", "leave it out of --vary, or of --sensitive"
            )


def _wrong(name: str, problem: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"input variable '{name}' {problem}", hint=hint, variable=name)


_ORDERED: Final = {InputType.INTEGER, InputType.FLOAT, InputType.DATETIME}
_TEXTUAL: Final = {InputType.STRING}


def _check_constraint(variable: InputVariable, constraint: Constraint) -> None:
    kind, value = constraint.kind, constraint.value
    if kind in (ConstraintKind.MIN, ConstraintKind.MAX):
        fits = variable.type in _ORDERED and not isinstance(value, tuple) and _has_type(variable.type, value)
    elif kind is ConstraintKind.ONE_OF:
        fits = isinstance(value, tuple) and bool(value) and all(_has_type(variable.type, item) for item in value)
    elif kind is ConstraintKind.PATTERN:
        fits = variable.type in _TEXTUAL and isinstance(value, str)
        if fits:
            _check_pattern_of(variable, str(value))
    else:
        fits = variable.type in _TEXTUAL and type(value) is int and value >= 0
    if not fits:
        raise _wrong(
            variable.name,
            f"has a constraint '{kind.value}' that does not fit its type",
            "see 'opaque-jobs job create --help'",
        )


def _check_pattern_of(variable: InputVariable, pattern: str) -> None:
    try:
        check_pattern(pattern)
    except InvalidInputError as error:
        raise _wrong(variable.name, f"has a pattern that is not taken: {error.message}", error.hint) from None


def parse_datetime(text: str) -> datetime:
    """Parse RFC 3339 text with an offset.

    Raises:
        ValueError: Not such a text.
    """
    if not _DATETIME.fullmatch(text):
        raise ValueError("no RFC 3339 text with an offset")
    return datetime.fromisoformat(text)


def _has_type(kind: InputType, value: Any) -> bool:
    match kind:
        case InputType.STRING | InputType.DATASET:
            return isinstance(value, str) and len(value) <= MAX_STRING
        case InputType.INTEGER:
            return type(value) is int and abs(value) < 2**53
        case InputType.FLOAT:
            return type(value) in (int, float) and math.isfinite(value)
        case InputType.BOOLEAN:
            return type(value) is bool
        case InputType.DATETIME:
            try:
                parse_datetime(value)
            except (ValueError, TypeError):
                return False
            return True


def _holds(variable: InputVariable, constraint: Constraint, value: Any) -> bool:
    bound: Any = constraint.value
    if variable.type is InputType.DATETIME:
        value = parse_datetime(value)
        bound = tuple(map(parse_datetime, bound)) if isinstance(bound, tuple) else parse_datetime(bound)
    match constraint.kind:
        case ConstraintKind.MIN:
            return bool(value >= bound)
        case ConstraintKind.MAX:
            return bool(value <= bound)
        case ConstraintKind.ONE_OF:
            return bool(value in bound)
        case ConstraintKind.PATTERN:
            return matches_whole(bound, value)
        case ConstraintKind.MIN_LENGTH:
            return bool(len(value) >= bound)
        case ConstraintKind.MAX_LENGTH:
            return bool(len(value) <= bound)


def _check_value(variable: InputVariable, value: Any) -> None:
    if not _has_type(variable.type, value):
        raise _wrong(variable.name, f"needs a value of type {variable.type.value}", "see its description")
    groups = variable.constraints
    if groups and not any(all(_holds(variable, each, value) for each in group) for group in groups):
        raise _wrong(variable.name, "has a value outside what is allowed", "see its constraints")


def effective_inputs(
    declarations: Sequence[InputVariable], given: Mapping[str, Any], *, aliases: Sequence[str] = ()
) -> dict[str, Scalar]:
    """Validate given values and fill in the defaults.

    Args:
        declarations: The approved declarations.
        given: Name -> JSON scalar.
        aliases: Data set aliases that a `DATASET` variable may name.

    Returns:
        Every declared variable with its value.

    Raises:
        InvalidInputError: Unknown name, missing value, wrong type, or outside the constraints. Values are never shown.
    """
    known = {variable.name for variable in declarations}
    for name in given:
        if name not in known:
            raise InvalidInputError(
                "an input value is given for a variable that the job does not declare",
                hint="see the job's input variables",
            )
    values: dict[str, Scalar] = {}
    for variable in declarations:
        value = given.get(variable.name)
        if value is None:
            value = variable.default
        if value is None:
            raise _wrong(variable.name, "has no value and no default", "give it with --input NAME=VALUE")
        _check_value(variable, value)
        if variable.type is InputType.DATASET and value not in aliases:
            raise _wrong(variable.name, "names a data set that the job does not declare", "use one of its data set names")
        values[variable.name] = float(value) if variable.type is InputType.FLOAT else value
    return values


def json_schema(variable: InputVariable) -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of a variable, for Airflow Params and REST.

    It is a convenience: ISO texts compare in `effective_inputs`, not here. Patterns are not in it: Airflow and browsers
    would match an author's pattern with engines that it can keep busy for ever.
    """
    types: dict[InputType, dict[str, Any]] = {
        InputType.STRING: {"type": "string", "maxLength": MAX_STRING},
        InputType.DATASET: {"type": "string"},
        InputType.INTEGER: {"type": "integer"},
        InputType.FLOAT: {"type": "number"},
        InputType.BOOLEAN: {"type": "boolean"},
        InputType.DATETIME: {"type": "string", "format": "date-time"},
    }
    words = {
        ConstraintKind.MIN: "minimum",
        ConstraintKind.MAX: "maximum",
        ConstraintKind.ONE_OF: "enum",
        ConstraintKind.MIN_LENGTH: "minLength",
        ConstraintKind.MAX_LENGTH: "maxLength",
    }
    schema: dict[str, Any] = dict(types[variable.type])
    groups: list[dict[str, Any]] = []
    for group in variable.constraints:
        clauses: list[dict[str, Any]] = []
        for each in group:
            if each.kind is ConstraintKind.PATTERN:
                continue
            if variable.type is InputType.DATETIME and each.kind in (ConstraintKind.MIN, ConstraintKind.MAX):
                continue
            value = list(each.value) if isinstance(each.value, tuple) else each.value
            clauses.append({words[each.kind]: value})
        groups.append({"allOf": clauses} if clauses else {})
    if groups:
        schema["anyOf"] = groups
    return schema
