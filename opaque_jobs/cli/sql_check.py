"""A first look at SQL while it is drafted: where it probably does not parse.

Only the engine decides, in the test run. The parser here is another one, which knows most of Spark's SQL but not all, so what
it says is a warning and never a refusal. It says where, never what: the text is the author's.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from opaque_jobs.cli.output import escape, stderr
from opaque_jobs.domain.job import Code, Language

__all__ = ["SqlWarning", "sql_warnings", "warn"]

_PLACE: Final = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlWarning:
    """A place that probably does not parse; both numbers from 1, None if it is not known where."""

    line: int | None
    column: int | None

    @property
    def message(self) -> str:
        """A sentence for people."""
        place = "somewhere" if self.line is None else f"at line {self.line}, column {self.column}"
        return f"the SQL does not seem to parse {place}; it is drafted all the same, and a test run says for sure"

    def to_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {"line": self.line, "column": self.column, "message": self.message}


def sql_warnings(code: Code | None) -> list[SqlWarning]:
    """Give the places at which SQL probably does not parse; none for other code."""
    if code is None or code.language is not Language.SQL:
        return []
    # Loading the parser takes a while, and most commands do without.
    import sqlglot  # noqa: PLC0415
    from sqlglot.errors import ParseError, SqlglotError  # noqa: PLC0415

    with _silent():
        try:
            sqlglot.parse(code.text, read="spark")
        except ParseError as error:
            return [SqlWarning(line=each.get("line"), column=each.get("col")) for each in error.errors[:1]]
        except SqlglotError as error:
            found = _PLACE.search(str(error.__cause__))
            return [SqlWarning(line=int(found[1]), column=int(found[2])) if found else SqlWarning(line=None, column=None)]
        except RecursionError:
            return []
    return []


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the parser from logging pieces of the text."""
    logger = logging.getLogger("sqlglot")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def warn(found: list[SqlWarning]) -> None:
    """Tell a person."""
    for each in found:
        stderr().print(f"[bold yellow]warning:[/] {escape(each.message)}")
