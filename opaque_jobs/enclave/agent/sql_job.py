"""Runs a SQL job: no process of the author's is needed, but every statement goes through the same rules."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opaque_jobs.domain.inputs import InputType
from opaque_jobs.enclave.agent.sql_rules import Names, RefusedError, check_outline, created_view

if TYPE_CHECKING:
    from opaque_jobs.enclave.agent.engine import Engine

__all__ = ["SqlFailedError", "bound", "literal", "run_sql", "split_statements", "string_literal"]

_LEXEME: Final = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.|"")*"?|`(?:[^`]|``)*`?|--[^\n]*|/\*.*?(?:\*/|$)|(?<![\w)\]'"`:]):\w+|\s+|\w+|.""",
    re.DOTALL,
)
"""Quoted text, a comment, an input's place, white space, a word, or any other character."""


def split_statements(text: str, literals: Mapping[str, str]) -> list[tuple[int, str]]:
    """Split a script at its semicolons and write the input values in place of `:name`, outside of quotes and comments.

    Security does not rest on this: what comes out is parsed by the engine, which refuses two statements at once, and judged.

    Args:
        text: The script.
        literals: Input -> SQL text of its value.

    Returns:
        Line on which a statement begins (from 1) and its text, without empty ones.
    """
    pieces: list[tuple[int, str]] = []
    current: list[str] = []
    line = begun = 1
    for match in _LEXEME.finditer(text):
        lexeme = match.group()
        blank = lexeme.isspace() or lexeme.startswith(("--", "/*"))
        if not blank and not any(current):
            begun = line
        if lexeme == ";":
            _keep(pieces, current, begun)
            current = []
        elif lexeme[0] == ":" and lexeme[1:] in literals:
            current.append(literals[lexeme[1:]])
        elif not blank or current:
            current.append(" " if blank else lexeme)
        line += lexeme.count("\n")
    _keep(pieces, current, begun)
    return pieces


def _keep(pieces: list[tuple[int, str]], lexemes: list[str], line: int) -> None:
    statement = "".join(lexemes).strip()
    if statement:
        pieces.append((line, statement))


def bound(text: str, named: Mapping[str, str], positional: Sequence[str]) -> str:
    """Write values in place of `:name` and `?`, outside of quotes and comments.

    Security does not rest on this: what comes out is what is judged, and what is sent on.
    """
    left = iter(positional)
    pieces: list[str] = []
    for match in _LEXEME.finditer(text):
        lexeme = match.group()
        if lexeme == "?":
            lexeme = next(left, lexeme)
        pieces.append(named.get(lexeme[1:], lexeme) if lexeme[0] == ":" else lexeme)
    return "".join(pieces)


def string_literal(text: str) -> str:
    """Return text as a SQL string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def literal(kind: InputType, value: Any) -> str:
    """Give an input's value as SQL text; a data set's name as an identifier."""
    match kind:
        case InputType.STRING:
            return string_literal(str(value))
        case InputType.DATASET:
            return f"`{value}`"
        case InputType.DATETIME:
            return f"TIMESTAMP '{value}'"
        case InputType.FLOAT:
            return f"{float(value)!r}D"
        case InputType.BOOLEAN:
            return "TRUE" if value else "FALSE"
        case InputType.INTEGER:
            return f"({int(value)})"


class SqlFailedError(Exception):
    """A statement failed.

    Args:
        line: Where it begins.
        cause: Why.
    """

    def __init__(self, line: int, cause: Exception) -> None:
        super().__init__()
        self.line = line
        self.cause = cause


def run_sql(engine: "Engine", code: str, *, names: Names, literals: Mapping[str, str]) -> Any:
    """Run all statements; the last one is the result.

    Raises:
        SqlFailedError: A statement is not allowed, or the engine refuses it; or the last one is no query.
    """
    frame, line = None, 1
    for line, statement in split_statements(code, literals):
        try:
            outline = engine.outline(statement, True)
            check_outline(outline, names, statement=True)
            view = created_view(outline)
            if view is not None:
                names.add_view(view)
            result = engine.sql(statement)
            frame = result if view is None else None
        except Exception as error:
            raise SqlFailedError(line, error) from error
    if frame is None:
        raise SqlFailedError(line, RefusedError("the last statement of a SQL job must be a query: its rows are the result"))
    return frame
