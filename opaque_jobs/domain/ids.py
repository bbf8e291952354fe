"""Names of things: random ids with a kind prefix, and the rules for names that people choose."""

import re
import secrets
from typing import Final

from opaque_jobs.errors import InvalidInputError

__all__ = ["IDENTIFIER", "check_identifier", "check_name", "check_text", "new_id"]

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NAME: Final = re.compile(r"[A-Za-z0-9 _-]+")


def new_id(kind: str) -> str:
    """Give a fresh id such as `job-3f9c...` (96 random bits).

    Args:
        kind: `org`, `member`, `ws`, `ds`, `job` or `run`.
    """
    return f"{kind}-{secrets.token_hex(12)}"


def check_name(name: str, *, what: str, limit: int = 50) -> None:
    """Check a display name: 1 to `limit` of letters, digits, space, `_` and `-`, no space at either end.

    Raises:
        InvalidInputError: It is not one.
    """
    if not (1 <= len(name) <= limit and _NAME.fullmatch(name) and name == name.strip()):
        raise InvalidInputError(f"the {what}'s name is not valid", hint=f"use 1 to {limit} letters, digits, spaces, '_' or '-'")


def check_text(text: str, *, what: str, limit: int) -> None:
    """Check a free text's length in characters.

    Raises:
        InvalidInputError: It is longer than `limit`.
    """
    if len(text) > limit:
        raise InvalidInputError(f"the {what} is too long", hint=f"use at most {limit} characters", limit=limit)


def check_identifier(name: str, *, what: str) -> None:
    """Check a name that code uses (data set alias, input variable): a letter or `_`, then letters, digits or `_`, at most 63.

    Raises:
        InvalidInputError: It is not one.
    """
    if not IDENTIFIER.fullmatch(name):
        raise InvalidInputError(
            f"the {what}'s name is not valid",
            hint="start with a letter or '_', then letters, digits or '_', at most 63",
        )
