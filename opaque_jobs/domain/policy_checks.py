"""What all TEE policies check of their values: hexadecimal of one length, and ages in range."""

import re
from typing import Final

from opaque_jobs.errors import InvalidInputError

__all__ = ["check_days", "check_hex", "demand"]

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_MAX_DAYS: Final = 3650


def demand(holds: bool, problem: str, hint: str) -> None:
    """Refuse a policy unless something holds.

    Raises:
        InvalidInputError: It does not.
    """
    if not holds:
        raise InvalidInputError(f"a TEE policy {problem}", hint=hint)


def check_hex(text: str, size: int, what: str) -> None:
    """Refuse what is not so many bytes in lower-case hexadecimal."""
    demand(
        len(text) == 2 * size and bool(_HEX.fullmatch(text)),
        f"has a {what} of another form",
        f"write the {size} bytes as {2 * size} lower-case hexadecimal digits",
    )


def check_days(days: int | None) -> None:
    """Refuse an age that is out of range."""
    demand(days is None or 0 < days <= _MAX_DAYS, "has an age that is out of range", f"1 to {_MAX_DAYS} days")
