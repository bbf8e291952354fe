"""What owners write after `--where`, made into a typed rule, and a rule written back as what will be evaluated.

The grammar, parsed by sqlglot and then held to a list of what may stand in it:

    rule   = test | rule AND rule | rule OR rule | NOT rule | ( rule )
    test   = column (= != <> < <= > >=) value | column [NOT] IN (value, ...) | column [NOT] BETWEEN value AND value
           | column [NOT] LIKE 'pattern' | column IS [NOT] NULL
    value  = 'text' | number | TRUE | FALSE | 2024-01-31 | 2024-01-31T12:00:00[.5][Z or +02:00]
    column = a name, as it is or in "double quotes" (needed if it is a word of this grammar or has signs in it)

A single word that is no column's name is a text too. AND binds more than OR. A value must be one of its column's type exactly;
a point in time without a zone means midnight or UTC, and is shown so.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.row_rule import (
    Family,
    Joint,
    RowGroup,
    RowOperator,
    RowRule,
    RowTest,
    check_size,
    decimal_digits,
    family_of,
    integer_range,
    joined,
    single,
    typed_value,
)
from opaque_jobs.errors import InvalidInputError

__all__ = ["check_columns", "parse_rules", "rule_text"]

_WORDS: Final = frozenset({"and", "or", "not", "in", "is", "null", "between", "like", "true", "false", "symmetric", "escape"})
_MOMENT: Final = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s?Z|[+-]\d{2}:?\d{2})?)?"
_WHOLE_MOMENT: Final = re.compile(f"{_MOMENT}", re.ASCII)
_PIECES: Final = re.compile(
    rf"""(?P<text>'(?:[^']|'')*') | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`) | (?<![\w.+-])(?P<moment>{_MOMENT})(?![\w:.+-])
    | (?P<word>(?<![\w.])[^\W\d]\w*) | (?P<bad>--|[^\w\s=<>!().,+-]) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS: Final[Mapping[type[exp.Expr], tuple[RowOperator, RowOperator]]] = {
    exp.EQ: (RowOperator.EQUAL, RowOperator.EQUAL),
    exp.NEQ: (RowOperator.NOT_EQUAL, RowOperator.NOT_EQUAL),
    exp.LT: (RowOperator.LESS, RowOperator.GREATER),
    exp.LTE: (RowOperator.LESS_OR_EQUAL, RowOperator.GREATER_OR_EQUAL),
    exp.GT: (RowOperator.GREATER, RowOperator.LESS),
    exp.GTE: (RowOperator.GREATER_OR_EQUAL, RowOperator.LESS_OR_EQUAL),
}
"""Operator as written, and with the value before the column."""
_HINT: Final = "write it as 'COLUMN >= VALUE', with one of = != < <= > >=, IN, BETWEEN, LIKE, IS NULL; join with AND, OR, NOT"
_EXACT: Final = Context(prec=80)


def parse_rules(texts: Sequence[str], columns: Sequence[Column]) -> RowRule | None:
    """Make one rule of several texts, all of which must hold.

    Args:
        texts: Each a whole rule by itself.
        columns: Of the data, with their types as stored.

    Returns:
        The rule; None for no text.

    Raises:
        InvalidInputError: A text is not of the grammar to its end, or compares a column with what its type does not have.
    """
    rules = [_Reader(columns).read(text) for text in texts]
    if not rules:
        return None
    rule = joined(Joint.AND, rules)
    check_size(rule)
    return rule


def check_columns(texts: Sequence[str], names: Sequence[str]) -> None:
    """Check, before a file is read for its types, that rules speak of columns that it has.

    Raises:
        InvalidInputError: One does not, or is not of the grammar.
    """
    reader = _Reader([Column(name=name, type="string") for name in names])
    for text in texts:
        reader.check(text)


class _Reader:
    """Reads rules about these columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = {column.name: column for column in columns}
        self._folded = {column.name.lower(): column.name for column in columns}
        odd = [re.escape(name) for name in self._columns if not re.fullmatch(r"[^\W\d]\w*", name)]
        spaced = [name for name in odd if name[0].isalpha() or name[0] == "_"]
        self._spaced = re.compile(f"{'|'.join(sorted(spaced, key=len, reverse=True))}", re.IGNORECASE) if spaced else None

    def check(self, text: str) -> None:
        """Check that one text compares columns that are there."""
        for node in self._parsed(text).walk():
            if type(node) in _TESTS:
                self._sides(node)

    def read(self, text: str) -> RowRule:
        """Read one text, whole."""
        try:
            return self._rule(self._parsed(text))
        except RecursionError:
            raise InvalidInputError("a row rule (--where) is nested too deeply", hint="use fewer parentheses") from None

    def _parsed(self, text: str) -> exp.Expr:
        try:
            parsed = sqlglot.parse(self._prepared(text))
        except (SqlglotError, RecursionError):
            raise _malformed() from None
        if len(parsed) != 1 or parsed[0] is None:
            raise _malformed()
        return parsed[0]

    def _prepared(self, text: str) -> str:
        """Put quotes around names and moments, so that none of them is a word of SQL; refuse every sign of no meaning here."""
        done, place = [], 0
        while place < len(text):
            named = self._spaced.match(text, place) if self._spaced else None
            if named and not text[named.end() : named.end() + 1].isalnum() and (not place or not text[place - 1].isalnum()):
                done.append(_identifier(named[0]))
                place = named.end()
                continue
            found = _PIECES.match(text, place)
            if found is None or found["bad"]:
                raise _malformed()
            done.append(self._piece(found))
            place = found.end()
        return "".join(done)

    def _piece(self, found: re.Match[str]) -> str:
        if found["quoted"]:
            quote = found["quoted"][0]
            return _identifier(found["quoted"][1:-1].replace(quote * 2, quote))
        if found["moment"]:
            return f"'{found['moment']}'"
        if found["word"] and found["word"].lower() not in _WORDS:
            return _identifier(found["word"])
        return found[0]

    def _rule(self, node: exp.Expr) -> RowRule:
        if isinstance(node, exp.Paren):
            return self._rule(_only(node, "this").this)
        if isinstance(node, exp.Not):
            return _not(self._rule(_only(node, "this").this))
        if isinstance(node, (exp.And, exp.Or)):
            return self._joined(_only(node, "this", "expression"))
        column, rest = self._sides(node)
        negated = bool(node.args.get("negate"))
        rule = self._test(node, column, rest)
        return _not(rule) if negated else rule

    def _joined(self, node: exp.Expr) -> RowRule:
        joint, kind = (Joint.AND, exp.And) if isinstance(node, exp.And) else (Joint.OR, exp.Or)
        rules: list[RowRule] = []
        left: exp.Expr = node
        while isinstance(left, kind):
            rules.insert(0, self._rule(_only(left, "this", "expression").expression))
            left = left.this
        rules.insert(0, self._rule(left))
        return joined(joint, rules)

    def _sides(self, node: exp.Expr) -> tuple[Column, exp.Expr | None]:
        """Return the column that a test is about, and the value if the column stands after it."""
        for side, other in (("this", "expression"), ("expression", "this")):
            column = self._column(node.args.get(side))
            if column is not None and (side == "this" or type(node) in _COMPARISONS):
                if self._column(node.args.get(other)) is not None:
                    raise InvalidInputError(
                        f"the row rule compares '{column.name}' with another column",
                        hint="compare a column with a value; put single quotes around a text",
                    )
                return column, node.args[other] if side == "expression" else None
        raise self._unknown(node)

    def _unknown(self, node: exp.Expr) -> InvalidInputError:
        name = node.args.get("this")
        alone = isinstance(name, exp.Column) and {key for key, value in name.args.items() if value} == {"this"}
        if not isinstance(name, exp.Column) or not alone or type(node) not in _TESTS:
            return _malformed()
        return InvalidInputError(
            f"the row rule (--where) names '{name.name}', a column that the file does not have",
            hint="columns: " + ", ".join(list(self._columns)[:30]),
        )

    def _column(self, node: object) -> Column | None:
        if not isinstance(node, exp.Column) or {key for key, value in node.args.items() if value} != {"this"}:
            return None
        name = node.name
        return self._columns.get(name if name in self._columns else self._folded.get(name.lower(), ""))

    def _test(self, node: exp.Expr, column: Column, flipped: exp.Expr | None) -> RowRule:
        if family_of(column.type) is None:
            raise InvalidInputError(
                f"no row rule can be on '{column.name}'",
                hint=f"its type is {column.type}: put what the rule needs into a column of its own",
            )
        if type(node) in _COMPARISONS:
            _only(node, "this", "expression")
            plain, turned = _COMPARISONS[type(node)]
            value = node.expression if flipped is None else flipped
            return _tested(column, plain if flipped is None else turned, (self._value(column, value),))
        if isinstance(node, exp.Is):
            if not isinstance(_only(node, "this", "expression").expression, exp.Null):
                raise _malformed()
            return _tested(column, RowOperator.IS_NULL, ())
        if isinstance(node, exp.In):
            listed = _only(node, "this", "expressions", "negate").expressions
            if not listed:
                raise _malformed()
            return _tested(column, RowOperator.IN, tuple(dict.fromkeys(self._value(column, each) for each in listed)))
        if isinstance(node, exp.Between):
            _only(node, "this", "low", "high", "negate")
            low, high = (self._value(column, node.args[bound]) for bound in ("low", "high"))
            bounds = ((RowOperator.GREATER_OR_EQUAL, low), (RowOperator.LESS_OR_EQUAL, high))
            return joined(Joint.AND, [_tested(column, operator, (bound,)) for operator, bound in bounds])
        if isinstance(node, exp.Like):
            pattern = _only(node, "this", "expression", "negate").expression
            if not isinstance(pattern, exp.Literal) or not pattern.is_string:
                raise _malformed()
            return _tested(column, RowOperator.LIKE, (pattern.this,))
        raise _malformed()

    def _value(self, column: Column, node: exp.Expr) -> str:
        """Return a value's canonical text."""
        while isinstance(node, exp.Paren):
            node = _only(node, "this").this
        family, kind = family_of(column.type), column.type
        if isinstance(node, exp.Null):
            raise InvalidInputError(
                f"the row rule compares '{column.name}' with NULL, which nothing equals", hint="write IS NULL or IS NOT NULL"
            )
        if isinstance(node, exp.Boolean):
            return ("true" if node.this else "false") if family is Family.BOOLEAN else _unfit(column)
        if isinstance(node, exp.Column) and family is Family.TEXT and re.fullmatch(r"\w+", node.name):
            return node.name
        sign = ""
        if isinstance(node, exp.Neg):
            sign, node = "-", node.this
        if not isinstance(node, exp.Literal) or (sign and node.is_string):
            return _unfit(column)
        text = sign + node.this
        if node.is_string:
            return _from_text(column, text)
        numbers = {Family.INTEGER: _whole, Family.DECIMAL: _fixed, Family.FLOAT: _floating}
        return numbers[family](kind, text, column) if family in numbers else _unfit(column)


_TESTS: Final = frozenset({*_COMPARISONS, exp.Is, exp.In, exp.Between, exp.Like})


def _malformed() -> InvalidInputError:
    return InvalidInputError("a row rule (--where) is not well formed", hint=_HINT)


def _only(node: exp.Expr, *names: str) -> exp.Expr:
    """Refuse a node that says more than this program understands."""
    if {key for key, value in node.args.items() if value} - set(names):
        raise _malformed()
    return node


def _not(rule: RowRule) -> RowRule:
    return rule.rules[0] if isinstance(rule, RowGroup) and rule.joint is Joint.NOT else RowGroup(joint=Joint.NOT, rules=(rule,))


def _tested(column: Column, operator: RowOperator, values: tuple[str, ...]) -> RowTest:
    family = family_of(column.type)
    unordered = operator not in {RowOperator.EQUAL, RowOperator.NOT_EQUAL, RowOperator.IN, RowOperator.IS_NULL}
    if unordered and (family is Family.BOOLEAN or (operator is RowOperator.LIKE and family is not Family.TEXT)):
        raise InvalidInputError(
            f"the row rule on '{column.name}' compares it as its type does not allow", hint=f"its type is {column.type}"
        )
    return RowTest(column=column.name, type=column.type, operator=operator, values=values)


_EXPECTED: Final[Mapping[Family, str]] = {
    Family.BOOLEAN: "compare it with true or false",
    Family.INTEGER: "compare it with a whole number, without quotes",
    Family.DECIMAL: "compare it with a number, without quotes",
    Family.FLOAT: "compare it with a number, without quotes",
    Family.DATE: "compare it with a date that exists, such as 2024-01-31, without a time of day",
    Family.TIMESTAMP: "it has no time zone: compare it with a date or a time such as 2024-01-31T12:00:00, without an offset",
    Family.TIMESTAMP_TZ: "compare it with a time such as 2024-01-31T12:00:00Z or with an offset; without one, UTC is meant",
    Family.TEXT: "put single quotes around a text: 'like this'",
    Family.BINARY: "a column of bytes can be compared with nothing; IS NULL works",
}


def _unfit(column: Column) -> str:
    family = family_of(column.type)
    raise InvalidInputError(
        f"the row rule on '{column.name}' compares it with a value of another type",
        hint=f"its type is {column.type}: {_EXPECTED[family] if family else ''}",
    )


def _from_text(column: Column, text: str) -> str:
    family = family_of(column.type)
    if family is Family.TEXT:
        return text
    if family is Family.DATE and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return _checked(column, text)
    if family in {Family.TIMESTAMP, Family.TIMESTAMP_TZ} and _WHOLE_MOMENT.fullmatch(text):
        return _checked(column, _moment(column, text, zoned=family is Family.TIMESTAMP_TZ))
    return _unfit(column)


def _moment(column: Column, text: str, *, zoned: bool) -> str:
    if re.search(r"\.\d{7,}", text):
        raise InvalidInputError(
            f"the row rule on '{column.name}' has more digits of a second than the column", hint="at most six digits"
        )
    try:
        value = datetime.fromisoformat(re.sub(r"\s(?=Z)", "", text))
        if value.tzinfo is not None and not zoned:
            return _unfit(column)
        return (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)).isoformat() if zoned else value.isoformat()
    except (ValueError, OverflowError):
        return _unfit(column)


def _checked(column: Column, text: str) -> str:
    try:
        typed_value(column.type, text)
    except InvalidInputError:
        return _unfit(column)
    return text


def _whole(kind: str, text: str, column: Column) -> str:
    if not re.fullmatch(r"-?\d+", text, re.ASCII):
        return _unfit(column)
    low, high = integer_range(kind)
    if len(text) > 40 or not low <= int(text) <= high:
        raise InvalidInputError(
            f"the row rule on '{column.name}' has a number that the column cannot hold",
            hint=f"its type is {kind}: from {low} to {high}",
        )
    return str(int(text))


def _fixed(kind: str, text: str, column: Column) -> str:
    precision, scale = decimal_digits(kind)
    try:
        value = Decimal(text).quantize(Decimal(1).scaleb(-scale), context=_EXACT)
        exact = value == Decimal(text)
    except InvalidOperation:
        exact = False
    if not exact or (value and value.adjusted() >= precision - scale):
        raise InvalidInputError(
            f"the row rule on '{column.name}' has a number that the column cannot hold",
            hint=f"its type is {kind}: at most {precision - scale} digits before the point and {scale} after it",
        )
    return f"{value or abs(value):f}"


def _floating(kind: str, text: str, column: Column) -> str:
    try:
        value = float(text) or 0.0
        value = (single(value) or 0.0) if kind == "float" else value
    except OverflowError:
        value = float("inf")
    if abs(value) == float("inf"):
        raise InvalidInputError(
            f"the row rule on '{column.name}' has a number that the column cannot hold", hint=f"its type is {kind}"
        )
    return repr(value)


def rule_text(rule: RowRule | None) -> str:
    """Write a rule as what will be evaluated; `parse_rules` reads the same rule from it."""
    return "all rows" if rule is None else _written(rule)


def _written(rule: RowRule, *, inside: bool = False) -> str:
    if isinstance(rule, RowTest):
        return _written_test(rule)
    if rule.joint is Joint.NOT:
        inner = rule.rules[0]
        return f"NOT {_written(inner)}" if isinstance(inner, RowTest) else f"NOT ({_written(inner)})"
    text = f" {rule.joint.value.upper()} ".join(_written(each, inside=True) for each in rule.rules)
    return f"({text})" if inside else text


def _written_test(test: RowTest) -> str:
    plain = re.fullmatch(r"[^\W\d]\w*", test.column) and test.column.lower() not in _WORDS
    column = test.column if plain else _identifier(test.column)
    quoted = test.family in {Family.TEXT, Family.DATE, Family.TIMESTAMP, Family.TIMESTAMP_TZ}
    values = ["'" + text.replace("'", "''") + "'" if quoted else text for text in test.values]
    if test.operator is RowOperator.IS_NULL:
        return f"{column} IS NULL"
    if test.operator is RowOperator.IN:
        return f"{column} IN ({', '.join(values)})"
    return f"{column} {test.operator.value.upper()} {values[0]}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
