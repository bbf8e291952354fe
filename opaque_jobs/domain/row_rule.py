"""An owner's rule about rows: a closed, typed tree, written and read by one grammar and evaluated without any session.

A test compares one column with literals of exactly that column's type; groups join tests. Every value stands in one canonical
text, so nothing is left to whoever evaluates it: no cast, no time zone, no rounding. Logic is SQL's, with three values: a null
fulfils no test but `is null`. A float that is not a number fulfils `!=` alone.
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, cast

from opaque_jobs.errors import InvalidInputError

__all__ = [
    "MAX_RULE_TESTS",
    "Family",
    "Joint",
    "RowGroup",
    "RowOperator",
    "RowRule",
    "RowTest",
    "Value",
    "check_size",
    "decimal_digits",
    "family_of",
    "integer_range",
    "joined",
    "row_tests",
    "rule_columns",
    "single",
    "typed_value",
]

Value = bool | int | float | Decimal | date | datetime | str
MAX_RULE_TESTS: Final = 200
"""Most tests in a rule."""
_MAX_DEPTH: Final = 40
_MAX_VALUES: Final = 1_000
_DECIMAL: Final = re.compile(r"decimal128\((\d{1,2}), (\d{1,2})\)")
_INTEGER: Final = re.compile(r"(u?)int(8|16|32|64)")
_DIGITS: Final = re.compile(r"-?\d{1,40}(\.\d{1,40})?")


class RowOperator(StrEnum):
    """What a test does with its column."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    IN = "in"
    LIKE = "like"
    IS_NULL = "is null"


class Joint(StrEnum):
    """How a group joins its rules; `not` has one."""

    AND = "and"
    OR = "or"
    NOT = "not"


class Family(StrEnum):
    """Types that a rule can speak of."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMP_TZ = "timestamp_tz"
    TEXT = "text"
    BINARY = "binary"


_ORDERED: Final = frozenset(Family) - {Family.BOOLEAN, Family.BINARY}
_EQUALITIES: Final = frozenset({RowOperator.EQUAL, RowOperator.NOT_EQUAL, RowOperator.IN})


def family_of(kind: str) -> Family | None:
    """Return the family of an Arrow type as a manifest writes it; None for a type of which no rule can speak."""
    fixed = {
        "bool": Family.BOOLEAN,
        "float": Family.FLOAT,
        "double": Family.FLOAT,
        "string": Family.TEXT,
        "binary": Family.BINARY,
        "date32[day]": Family.DATE,
    }
    if kind in fixed:
        return fixed[kind]
    if _INTEGER.fullmatch(kind):
        return Family.INTEGER
    if _DECIMAL.fullmatch(kind):
        return Family.DECIMAL
    if re.fullmatch(r"timestamp\[(ms|us)\]", kind):
        return Family.TIMESTAMP
    if re.fullmatch(r"timestamp\[(ms|us), tz=[^\]]+\]", kind):
        return Family.TIMESTAMP_TZ
    return Family.BINARY if re.fullmatch(r"fixed_size_binary\[\d+\]", kind) else None


def integer_range(kind: str) -> tuple[int, int]:
    """Return the smallest and largest value of a type of whole numbers."""
    matched = cast(re.Match[str], _INTEGER.fullmatch(kind))
    bits = int(matched[2])
    return (0, 2**bits - 1) if matched[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def decimal_digits(kind: str) -> tuple[int, int]:
    """Return precision and scale of a decimal type."""
    matched = cast(re.Match[str], _DECIMAL.fullmatch(kind))
    return int(matched[1]), int(matched[2])


def typed_value(kind: str, text: str) -> Value:
    """Return the value that a canonical text stands for.

    Args:
        kind: Arrow type.
        text: The value's one text: `true`; `-5`; a decimal with all digits of its scale; the shortest text of a double (of a
            single-precision float: of the double that equals it); a date or a point in time in ISO 8601, in UTC if it has a
            zone; or the text itself.

    Raises:
        InvalidInputError: It is no value of this type, or not in its one form.
    """
    family = family_of(kind)
    try:
        value = _PARSERS[family](kind, text) if family in _PARSERS else None
    except (ValueError, OverflowError, InvalidOperation, struct.error):
        value = None
    if value is None:
        raise InvalidInputError("a row rule holds a value that is not of its column's type", hint="write the rule again")
    return value


def _boolean(_kind: str, text: str) -> Value | None:
    return {"true": True, "false": False}.get(text)


def _integer(kind: str, text: str) -> Value | None:
    value, (low, high) = int(text), integer_range(kind)
    return value if str(value) == text and low <= value <= high else None


def _decimal(kind: str, text: str) -> Value | None:
    precision, scale = decimal_digits(kind)
    value = Decimal(text)
    whole, _, fraction = text.removeprefix("-").partition(".")
    fits = bool(_DIGITS.fullmatch(text)) and len(fraction) == scale and len(whole.lstrip("0")) + scale <= precision
    plain = (whole == "0" or not whole.startswith("0")) and not (value == 0 and text.startswith("-"))
    return value if fits and plain else None


def _float(kind: str, text: str) -> Value | None:
    value = float(text)
    exact = single(value) if kind == "float" else value
    return value if repr(value) == text and abs(value) < float("inf") and exact == value and text != "-0.0" else None


def single(value: float) -> float:
    """Return the single-precision number next to a double.

    Raises:
        OverflowError: It is too large for one.
    """
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _date(_kind: str, text: str) -> Value | None:
    value = date.fromisoformat(text)
    return value if value.isoformat() == text else None


def _timestamp(_kind: str, text: str) -> Value | None:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is None and value.isoformat() == text else None


def _timestamp_tz(_kind: str, text: str) -> Value | None:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is not None and value.astimezone(UTC).isoformat() == text else None


def _text(_kind: str, text: str) -> Value | None:
    text.encode()  # half a character is no text
    return text


_PARSERS: Final[dict[Family | None, Callable[[str, str], Value | None]]] = {
    Family.BOOLEAN: _boolean,
    Family.INTEGER: _integer,
    Family.DECIMAL: _decimal,
    Family.FLOAT: _float,
    Family.DATE: _date,
    Family.TIMESTAMP: _timestamp,
    Family.TIMESTAMP_TZ: _timestamp_tz,
    Family.TEXT: _text,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTest:
    """One column against literals of its own type.

    Args:
        column: Its logical name.
        type: Arrow type, as the manifest writes it: the rule holds for data of exactly this type.
        operator: How they are compared.
        values: Canonical texts (`typed_value`): none for `is null`, one or more for `in`, else one. For `like` a pattern with
            `%` for any characters, `_` for one, and a backslash before one that is meant itself.

    Raises:
        InvalidInputError: The operator does not fit the type, or a value is not one of it.
    """

    column: str
    type: str
    operator: RowOperator
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        family, count = family_of(self.type), len(self.values)
        if self.operator is RowOperator.IS_NULL:
            fits = family is not None and count == 0
        elif self.operator is RowOperator.IN:
            fits = family is not Family.BINARY and 1 <= count <= _MAX_VALUES
        elif self.operator is RowOperator.LIKE:
            fits = family is Family.TEXT and count == 1
        else:
            fits = count == 1 and (family in _ORDERED or self.operator in _EQUALITIES)
        if not fits or family is None:
            raise InvalidInputError("a row rule compares a column in a way that its type does not have", hint="write it again")
        for text in self.values:
            typed_value(self.type, text)
        if self.operator is RowOperator.LIKE and re.search(r"\\(?![%_\\])", re.sub(r"\\[%_\\]", "", self.values[0])):
            raise InvalidInputError(
                "a pattern of LIKE has a backslash that stands before nothing special", hint=r"write \%, \_ or \\"
            )

    @property
    def family(self) -> Family:
        """Of its type."""
        return cast(Family, family_of(self.type))

    @property
    def typed(self) -> tuple[Value, ...]:
        """Its values."""
        return tuple(typed_value(self.type, text) for text in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Rules joined.

    Args:
        joint: How.
        rules: One for `not`, else two or more.

    Raises:
        InvalidInputError: Another number of rules.
    """

    joint: Joint
    rules: tuple["RowTest | RowGroup", ...]

    def __post_init__(self) -> None:
        if (len(self.rules) == 1) is not (self.joint is Joint.NOT) or not self.rules:
            raise InvalidInputError("a row rule's group has another number of rules than it joins", hint="write it again")


RowRule = RowTest | RowGroup


def row_tests(rule: RowRule) -> Iterator[RowTest]:
    """Return all tests of a rule, from left to right.

    Raises:
        InvalidInputError: Its groups are nested too deeply.
    """
    left = [(rule, 0)]
    while left:
        node, depth = left.pop()
        if depth > _MAX_DEPTH:
            raise InvalidInputError("a row rule is nested too deeply", hint=f"at most {_MAX_DEPTH} levels")
        if isinstance(node, RowTest):
            yield node
        else:
            left += [(each, depth + 1) for each in reversed(node.rules)]


def rule_columns(rule: RowRule | None) -> tuple[str, ...]:
    """Return the columns that a rule looks at, each once."""
    return () if rule is None else tuple(dict.fromkeys(test.column for test in row_tests(rule)))


def joined(joint: Joint, rules: Sequence[RowRule]) -> RowRule:
    """Join rules by `and` or `or`: one alone stays as it is, and a group of the same kind dissolves in the new one."""
    parts = [part for each in rules for part in (each.rules if isinstance(each, RowGroup) and each.joint is joint else (each,))]
    return parts[0] if len(parts) == 1 else RowGroup(joint=joint, rules=tuple(parts))


def check_size(rule: RowRule | None) -> None:
    """Check that a rule is no larger than anybody writes.

    Raises:
        InvalidInputError: It is.
    """
    if rule is not None and sum(1 for _ in row_tests(rule)) > MAX_RULE_TESTS:
        raise InvalidInputError(
            "a row rule has too many comparisons", hint=f"at most {MAX_RULE_TESTS}; use IN for lists of values"
        )
