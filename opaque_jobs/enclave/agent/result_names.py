"""The names in a result say nothing that the approved job does not: a name could carry values past the output policy.

A name goes out if members saw it: a column or field of a data set that the job reads, a word of the approved code, several of
these joined by underscores, a function of Spark's over them, or one of the few that Spark gives by itself. Any other becomes
its place, such as `column_3`. What else a program can attach to a column (comments, metadata) is dropped. The names of a SQL
job stay: its rules let in neither variables nor IDENTIFIER(), so its names are settled by the approved text and the run's
inputs, before any row is read.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from opaque_jobs.enclave.agent.functions import FUNCTIONS

__all__ = ["ApprovedNames", "names_in"]

_LONGEST: Final = 128
_MOST_PIECES: Final = 8
_WORD: Final = re.compile(r"\w+")
_CALL: Final = re.compile(r"(\w{1,40})\((?:DISTINCT )?([\w.]{1,64}|\*)(?:, ([\w.]{1,64}))?\)")
_SPARKS: Final = frozenset(
    {"col", "count", "element", "features", "key", "pos", "prediction", "probability", "rawPrediction", "start", "end", "summary"}
    | {"value", "window"}
)
_NUMBERED: Final = re.compile(r"(?:_c?|col)[0-9]{1,3}")
"""`_1`, `_c0`, `col1`: what Spark calls the parts of tuples, headless files and structs."""


class ApprovedNames:
    """What members saw of names.

    Args:
        code: The approved code.
        columns: Names of columns and fields of its data sets.
        settled: The code alone settles all names: SQL.
    """

    def __init__(self, code: str, columns: Collection[str], *, settled: bool = False) -> None:
        self._code = code
        self._settled = settled
        self._columns = frozenset(columns)
        self._words = frozenset(_WORD.findall(code))
        self._pieces = frozenset(piece for word in self._words | self._columns for piece in word.split("_"))

    def holds(self, name: str) -> bool:
        """Tell whether a name may go out as it is."""
        if self._settled or name in self._columns or name in _SPARKS or _NUMBERED.fullmatch(name):
            return True
        if not 0 < len(name.encode()) <= _LONGEST:
            return False
        return self._stands_in_code(name) or self._is_joined(name) or self._is_call(name)

    def shaped(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return a result's schema with approved names only and nothing attached; equal to the schema if that is so already.

        Args:
            schema: In Spark's JSON form.
        """
        return self._struct(schema, "column")

    def _stands_in_code(self, name: str) -> bool:
        """Whole words only, so that a name cannot be any piece of the text."""
        return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self._code) is not None

    def _is_joined(self, name: str) -> bool:
        """As code makes names in a loop: f"mean_{column}"."""
        pieces = name.split("_")
        return len(pieces) <= _MOST_PIECES and self._pieces.issuperset(pieces)

    def _is_call(self, name: str) -> bool:
        match = _CALL.fullmatch(name)
        if match is None or match[1].lower() not in FUNCTIONS:
            return False
        words = [word for part in match.groups()[1:] if part for word in part.split(".")]
        return all(word in ("1", "*") or word in self._words or word in self._columns for word in words)

    def _struct(self, struct: Mapping[str, Any], kind: str) -> dict[str, Any]:
        fields = struct["fields"]
        taken = {field["name"].lower() for field in fields if self.holds(field["name"])}
        shaped = []
        for place, field in enumerate(fields, 1):
            name = field["name"]
            if not self.holds(name):
                name = f"{kind}_{place}"
                while name in taken:
                    name += "_"
            shaped.append({**field, "name": name, "type": self._type(field["type"]), "metadata": {}})
        return {**struct, "fields": shaped}

    def _type(self, kind: Any) -> Any:
        if not isinstance(kind, dict):
            return kind
        if "fields" in kind:
            return self._struct(kind, "field")
        inner = {"elementType", "keyType", "valueType"}
        return {key: self._type(value) if key in inner else value for key, value in kind.items()}


def names_in(schema: Any) -> Iterator[str]:
    """Yield all names of a schema, at any depth."""
    if isinstance(schema, dict):
        for field in schema.get("fields", ()):
            yield field["name"]
            yield from names_in(field["type"])
        for key in ("elementType", "keyType", "valueType"):
            yield from names_in(schema.get(key))
