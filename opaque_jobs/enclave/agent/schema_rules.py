"""Schemas that a job writes as text: none may make the engine load a class by name.

Spark reads such a text as DDL, else as JSON, and JSON may name a class (`udt`). So the text has to be known before the engine
computes anything: it stands in the code as one plain string, or the engine derives it from an example (`schema_of_json`).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Argument", "RefusedError", "check_schema_argument", "plain_schema"]

_PLACES: Final = {"from_json": 1, "from_csv": 1, "variant_get": 2, "try_variant_get": 2}
"""Functions that take a type as text -> its place among their arguments. Spark's others are refused altogether."""
_WITHOUT_TYPE: Final = 2
"""Arguments of variant_get when it names no type."""
_DERIVED: Final = frozenset({"schema_of_json", "schema_of_csv"})
_DDL: Final = re.compile(r"\s*[\w`]")
"""How DDL begins, and JSON that describes a type never does (that begins with a brace or a quotation mark)."""


class RefusedError(Exception):
    """The author asked for something that jobs may not do. Its words are for the author; they hold only names from the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An argument of a function, as far as these rules look.

    Args:
        text: Of a plain string literal, else None.
        function: Name of the function that it calls, else empty.
        first: Text of that function's first argument if it is a plain string literal, else None.
        shifting: It may stand for another place, or for several arguments: named, or a star.
    """

    text: str | None = None
    function: str = ""
    first: str | None = None
    shifting: bool = False


def check_schema_argument(function: str, arguments: Sequence[Argument]) -> None:
    """Check a call of a function that may take a type as text.

    Raises:
        RefusedError: The type is not one plain string, or it names a class.
    """
    place = _PLACES.get(function.lower())
    if place is None:
        return
    if any(argument.shifting for argument in arguments):
        raise RefusedError(f"the arguments of {function.lower()} are written one by one, without names, in a job")
    if len(arguments) <= place:
        if place == _WITHOUT_TYPE == len(arguments):
            return
        raise RefusedError(f"{function.lower()} needs a schema in a job")
    schema = arguments[place]
    if schema.function.lower() in _DERIVED and schema.first is not None:
        return
    if schema.text is None:
        raise RefusedError(f"the schema of {function.lower()} is written as one plain string in a job")
    plain_schema(schema.text)


def plain_schema(text: str) -> str:
    """Give a schema text that cannot make the engine load a class by name.

    JSON is written anew, so that both sides read the same. What is neither JSON to us nor begins as DDL does is refused:
    the engine's parser takes a little more for JSON, such as a document with something behind it.

    Raises:
        RefusedError: It names a class, or it is neither.
    """
    if _DDL.match(text):
        return text
    try:
        document = json.loads(text, object_pairs_hook=_without_class)
    except ValueError:
        raise RefusedError("a schema is DDL, or JSON as Spark writes it, in a job") from None
    return json.dumps(document)


def _without_class(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Look at every pair, also those that a later one of the same name hides."""
    if ("type", "udt") in pairs:
        raise RefusedError("user-defined types are not allowed in a job")
    return dict(pairs)
