"""The small macro language of SQL templates, expanded on the syntax tree.

    :name                      a scalar parameter, as a typed literal
    value_of(item.x)           the same, inside for_each
    column_of(name)            a column reference, as a quoted, qualified identifier
    for_each(name, expr)       expr once per item of an array parameter, in a list of expressions
    all_of(name, condition)    the conditions of all items, joined by AND
    aggregated(item.f, expr)   the aggregate function that item.f names, of expr
    named(expr, part, ...)     expr AS the parts joined by '_'

A data set is named by its slot. No text is ever pasted: the tree is built, printed, parsed again and compared.
"""

from collections.abc import Callable
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from opaque_jobs.errors import InvalidInputError
from opaque_jobs.templates.definition import Template
from opaque_jobs.templates.parameters import ColumnRef, Family, Parameters

__all__ = ["AGGREGATES", "render_sql"]

_DIALECT: Final = "spark"
_MACROS: Final = frozenset({"value_of", "column_of", "for_each", "all_of", "aggregated", "named"})
AGGREGATES: Final[dict[str, tuple[Callable[[exp.Expr], exp.Expr], bool]]] = {
    "count": (lambda arg: exp.Count(this=arg, big_int=True), False),
    "count_distinct": (lambda arg: exp.Count(this=exp.Distinct(expressions=[arg]), big_int=True), False),
    "sum": (lambda arg: exp.Sum(this=arg), True),
    "avg": (lambda arg: exp.Avg(this=arg), True),
    "stddev": (lambda arg: exp.StddevSamp(this=arg), True),
}
"""Name -> how to build it, and whether it needs numbers. No minimum and maximum: they show one person's value."""


def render_sql(template: Template, parameters: Parameters) -> str:
    """Give the SQL text of a template for checked parameters.

    Raises:
        InvalidInputError: The template's logic is wrong, two output columns would share a name, or types do not compare.
    """
    try:
        statements = sqlglot.parse(template.logic, read=_DIALECT)
    except (SqlglotError, RecursionError):
        raise _wrong(template, "has a query.sql that does not parse") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise _wrong(template, "has a query.sql that is not one SELECT")
    rendered = _Expander(template, parameters).expand_all(statements[0])
    _check_output_names(rendered)
    text = rendered.sql(dialect=_DIALECT, pretty=True, comments=False)
    if sqlglot.parse_one(text, read=_DIALECT) != sqlglot.parse_one(rendered.sql(dialect=_DIALECT), read=_DIALECT):
        raise _wrong(template, "gives a query that does not print as it was built")
    return f"-- Made by the no-code template {template.name} {template.version}\n-- {template.digest}\n{text}\n"


def _wrong(template: Template, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"template '{template.name}' {problem}", hint="tell the people who made the template", template=template.name
    )


def _identifier(name: str) -> exp.Identifier:
    return exp.Identifier(this=name, quoted=True)


def _check_output_names(query: exp.Query) -> None:
    names = [name.lower() for name in query.named_selects]
    if len(set(names)) != len(names):
        raise InvalidInputError(
            "two columns of the result would have the same name", hint="leave one out, or rename the column in one data set"
        )


class _Expander:
    """Replaces macros by what the parameters say; `item` is the current array item."""

    def __init__(self, template: Template, parameters: Parameters) -> None:
        self._template = template
        self._values = parameters.resolved
        self._aliases = parameters.aliases

    def expand_all(self, query: exp.Query) -> exp.Query:
        """Expand a whole statement."""
        tables = {cte.alias for cte in query.find_all(exp.CTE)}
        (expanded,) = self._expand(query, {})
        for node in expanded.find_all(exp.Table):
            if node.name not in tables | set(self._aliases.values()):
                raise _wrong(self._template, "reads a table that is not one of its data sets")
        if not isinstance(expanded, exp.Query) or expanded.find(exp.Placeholder):
            raise _wrong(self._template, "has a placeholder that is no parameter")
        return expanded

    def _expand(self, node: exp.Expr, scope: dict[str, Any]) -> list[exp.Expr]:
        if isinstance(node, exp.Placeholder):
            return [self._literal(self._look_up([node.name], scope))]
        if isinstance(node, exp.Table) and node.name in self._aliases and not node.args.get("db"):
            alias = exp.TableAlias(this=_identifier(node.name))
            return [exp.Table(this=_identifier(self._aliases[node.name]), alias=alias)]
        if isinstance(node, exp.Anonymous) and str(node.this).lower() in _MACROS:
            return self._macro(str(node.this).lower(), node.expressions, scope)
        if isinstance(node, exp.Ordered):
            return self._ordered(node, scope)
        built = node.__class__(**{name: self._argument(value, scope) for name, value in node.args.items()})
        if isinstance(node, exp.EQ):
            self._check_comparable(node, scope)
        return [built]

    def _argument(self, value: Any, scope: dict[str, Any]) -> Any:
        if isinstance(value, list):
            expanded = [self._expand(item, scope) if isinstance(item, exp.Expr) else [item] for item in value]
            return [each for items in expanded for each in items]
        if isinstance(value, exp.Expr):
            return self._one(value, scope)
        return value

    def _one(self, node: exp.Expr, scope: dict[str, Any]) -> exp.Expr:
        found = self._expand(node, scope)
        if len(found) != 1:
            raise _wrong(self._template, "uses for_each where only one expression can stand")
        return found[0]

    def _ordered(self, node: exp.Ordered, scope: dict[str, Any]) -> list[exp.Expr]:
        rest = {name: value for name, value in node.args.items() if name != "this"}
        return [exp.Ordered(this=each, **rest) for each in self._expand(node.this, scope)]

    def _macro(self, name: str, arguments: list[exp.Expr], scope: dict[str, Any]) -> list[exp.Expr]:
        if not arguments or (name not in {"value_of", "column_of"} and len(arguments) < 2):
            raise _wrong(self._template, f"uses {name} with too few arguments")
        if name == "named":
            label = "_".join(str(self._text(part, scope)) for part in arguments[1:])
            return [exp.Alias(this=self._one(arguments[0], scope), alias=_identifier(label))]
        value = self._look_up(self._path(arguments[0]), scope)
        if name == "value_of":
            return [self._literal(value)]
        if name == "column_of":
            return [self._column(value)]
        if name == "aggregated":
            return [self._aggregate(value, arguments[1], scope)]
        if not isinstance(value, list):
            raise _wrong(self._template, f"uses {name} with a parameter that is no array")
        expanded = [self._one(arguments[1], {"item": item}) for item in value]
        return expanded if name == "for_each" else [exp.and_(*expanded, copy=False) if expanded else exp.true()]

    def _path(self, node: exp.Expr) -> list[str]:
        if not isinstance(node, exp.Column | exp.Dot):
            raise _wrong(self._template, "gives a macro something that is no parameter")
        return [part.name for part in node.parts]

    def _look_up(self, path: list[str], scope: dict[str, Any]) -> Any:
        value: Any = {**self._values, **scope}
        for step in path:
            if isinstance(value, ColumnRef):
                value = {"dataset": value.slot, "column": value.name}
            if not isinstance(value, dict) or step not in value:
                raise _wrong(self._template, "uses a parameter that its schema does not have, or that is optional")
            value = value[step]
        return value

    def _text(self, node: exp.Expr, scope: dict[str, Any]) -> str:
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        value = self._look_up(self._path(node), scope)
        return value.name if isinstance(value, ColumnRef) else str(value)

    def _column(self, value: Any) -> exp.Column:
        if not isinstance(value, ColumnRef):
            raise _wrong(self._template, "uses column_of with a parameter that is no column")
        return exp.Column(this=_identifier(value.name), table=_identifier(value.slot))

    def _literal(self, value: Any) -> exp.Expr:
        match value:
            case bool():
                return exp.Boolean(this=value)
            case int():
                return exp.Literal.number(value)
            case float():
                return exp.cast(exp.Literal.number(repr(value)), "double", dialect=_DIALECT)
            case str():
                return exp.Literal.string(value)
        raise _wrong(self._template, "uses a parameter as a value that is none")

    def _aggregate(self, name: Any, argument: exp.Expr, scope: dict[str, Any]) -> exp.Expr:
        if name not in AGGREGATES:
            raise _wrong(self._template, "names an aggregate function that there is not")
        build, numeric = AGGREGATES[name]
        reference = self._reference(argument, scope)
        if numeric and reference is not None and reference.family is not Family.NUMBER:
            raise InvalidInputError(
                f"'{name}' needs a column of numbers, and '{reference.name}' is none", hint="use count or count_distinct"
            )
        return build(self._one(argument, scope))

    def _reference(self, node: exp.Expr, scope: dict[str, Any]) -> ColumnRef | None:
        if isinstance(node, exp.Anonymous) and str(node.this).lower() == "column_of" and node.expressions:
            value = self._look_up(self._path(node.expressions[0]), scope)
            return value if isinstance(value, ColumnRef) else None
        return None

    def _check_comparable(self, node: exp.EQ, scope: dict[str, Any]) -> None:
        left, right = self._reference(node.left, scope), self._reference(node.right, scope)
        if left is None or right is None:
            return
        if left.family is not right.family or left.family is Family.OTHER:
            raise InvalidInputError(
                f"columns '{left.name}' and '{right.name}' cannot be compared: one is {left.family}, one {right.family}",
                hint="join on columns of the same kind",
            )
