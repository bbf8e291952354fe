"""Lists in parts: a cursor says after which item to go on, by the item's own place in the order.

So nothing is told twice or left out where others are added or removed meanwhile.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.operations import Page

__all__ = ["MOST", "check_limit", "next_after", "page", "position"]

MOST: Final = 500
T = TypeVar("T")
Key = tuple[str | int, ...]


def page(items: Iterable[T], *, key: Callable[[T], Key], cursor: str | None, limit: int, reverse: bool = False) -> Page[T]:
    """Give a part of a list.

    Args:
        items: All of it, in any order.
        key: An item's place, different for each.
        cursor: `Page.next` of the part before; None for the first.
        limit: Items, 1 to `MOST`.
        reverse: Largest first.

    Raises:
        InvalidInputError: The cursor is none of this list, or the limit is out of range.
    """
    check_limit(limit)
    ordered = sorted(items, key=key, reverse=reverse)
    if cursor is not None:
        after = position(cursor)
        try:
            ordered = [each for each in ordered if (key(each) < after if reverse else key(each) > after)]
        except TypeError:
            raise _unknown() from None
    part = tuple(ordered[:limit])
    return Page(items=part, next=next_after(key(part[-1])) if len(ordered) > limit else None)


def check_limit(limit: int) -> None:
    """Check how many items are asked for.

    Raises:
        InvalidInputError: Not 1 to `MOST`.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInputError("the limit of a list is out of range", hint=f"give 1 to {MOST}", most=MOST)


def position(cursor: str) -> Key:
    """Give the place that a cursor names.

    Raises:
        InvalidInputError: It is no cursor.
    """
    try:
        found: Any = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (binascii.Error, ValueError, RecursionError):
        raise _unknown() from None
    if not isinstance(found, list) or not all(isinstance(each, str | int) for each in found):
        raise _unknown()
    return tuple(found)


def next_after(place: Key) -> str:
    """Give the cursor after a place."""
    return base64.urlsafe_b64encode(json.dumps(list(place)).encode()).decode("ascii")


def _unknown() -> InvalidInputError:
    return InvalidInputError("the cursor is none of this list", hint="start again without one")
