r"""Regular expressions of authors: RE2 matches them in time linear in the text, in bounded memory.

The one home. Brokers, the agent, members' commands and verifiers of receipts match values that others chose against patterns
that others wrote. Python's own `re` backtracks: a pattern of 20 characters can keep it busy for hours.

Source: https://github.com/google/re2/wiki/Syntax: no look-around, no back-references; `\d`, `\w` and `\s` mean ASCII.
"""

from collections.abc import Callable
from typing import Any, Final

import re2

from opaque_jobs.errors import InvalidInputError

__all__ = ["MAX_PATTERN", "check_pattern", "found_in", "matches_whole"]

MAX_PATTERN: Final = 300
"""Characters."""
_MAX_MEMORY: Final = 1 << 18
"""Bytes for one compiled pattern; it bounds the work per character too, for repetitions that grow when written out."""


def check_pattern(pattern: str) -> None:
    """Check that a pattern can be matched.

    Raises:
        InvalidInputError: It is too long, too large when compiled, or no RE2 syntax. The pattern itself is not shown.
    """
    _compiled(pattern)


def matches_whole(pattern: str, text: str) -> bool:
    """Tell whether a pattern matches a text from its beginning to its end. Raises as `check_pattern`."""
    return _matches(_compiled(pattern).fullmatch, text)


def found_in(pattern: str, text: str) -> bool:
    """Tell whether a pattern matches anywhere in a text, as JSON Schema means it. Raises as `check_pattern`."""
    return _matches(_compiled(pattern).search, text)


def _compiled(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN:
        raise InvalidInputError(
            "a pattern is too long", hint=f"a pattern has at most {MAX_PATTERN} characters", limit=MAX_PATTERN
        )
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.never_capture = True  # nobody asks for groups, and they cost more
    options.log_errors = False  # RE2 would print the pattern
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        raise InvalidInputError(
            "a pattern cannot be used",
            hint="write RE2 syntax: no look-around or back-references, and no repetition that grows large",
        ) from None


def _matches(look: Callable[[str], Any], text: str) -> bool:
    try:
        return look(text) is not None
    except UnicodeError:  # half a character
        return False
