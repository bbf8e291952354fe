"""The parameters of a no-code job: checked by JSON Schema, completed with defaults, column references resolved.

Messages name the parameter and the rule, never the value: parameters may be the author's secret and errors are logged.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from jsonschema import FormatChecker
from jsonschema.exceptions import ValidationError

from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.dataset import Column
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.templates.definition import Template
from opaque_jobs.templates.validation import ParameterValidator

__all__ = ["ColumnRef", "Family", "Parameters", "check_parameters"]

_BOUNDS: Final = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_SAFE_RULES: Final = _BOUNDS | {"type", "enum", "minLength", "maxLength", "minItems", "maxItems"}


class Family(StrEnum):
    """What a column can be compared with and computed with."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    OTHER = "other"


def _family(kind: str) -> Family:
    prefixes = {
        ("int", "uint", "float", "double", "halffloat", "decimal"): Family.NUMBER,
        ("string", "large_string"): Family.TEXT,
        ("bool",): Family.BOOLEAN,
        ("date",): Family.DATE,
        ("timestamp",): Family.TIMESTAMP,
    }
    for starts, family in prefixes.items():
        if kind.startswith(starts):
            return family
    return Family.OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRef:
    """A column of a slot's data set, known to exist."""

    slot: str
    name: str
    family: Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """A checked parameter document.

    Args:
        document: As given, with defaults; valid by the template's schema.
        aliases: Slot -> data set.
        resolved: The same document with a `ColumnRef` in the place of each column reference.
        columns: Data set -> columns that the parameters name, in the data set's order.
    """

    document: dict[str, Any]
    aliases: dict[str, str]
    resolved: dict[str, Any]
    columns: dict[str, tuple[str, ...]]


def check_parameters(template: Template, given: Mapping[str, Any], datasets: Mapping[str, Sequence[Column]]) -> Parameters:
    """Check a parameter document against a template and the data sets at hand.

    Args:
        template: The template.
        given: The document; `datasets` says which data set fills which slot.
        datasets: Alias -> columns, of all data sets that may be used.

    Raises:
        InvalidInputError: A parameter is missing, unknown, of a wrong type or outside its bounds, or names a data set or
            column that is not there.
    """
    document = json.loads(canonical_bytes(_with_defaults(template.parameters, copy.deepcopy(dict(given)))))
    validator = ParameterValidator(template.parameters, format_checker=FormatChecker())
    first = min(validator.iter_errors(document), key=lambda error: (len(error.path), _path(error)), default=None)
    if first is not None:
        raise _refusal(template, first)
    aliases: dict[str, str] = dict(document["datasets"])
    for slot, alias in aliases.items():
        if alias not in datasets:
            raise InvalidInputError(
                f"parameter 'datasets.{slot}' names a data set that the job does not have",
                hint="data sets: " + (", ".join(sorted(datasets)) or "none"),
            )
    if len(set(aliases.values())) != len(aliases):
        raise InvalidInputError("two data sets of the template are the same", hint="give each its own")
    resolver = _Resolver(aliases, datasets)
    resolved = resolver.resolve(template.parameters, document, "", template.parameters)
    used = {
        alias: tuple(column.name for column in datasets[alias] if (slot, column.name) in resolver.used)
        for slot, alias in aliases.items()
    }
    for slot, alias in aliases.items():
        if not used[alias]:
            raise InvalidInputError(
                f"the parameters use no column of data set '{alias}'", hint=f"name a column of it (it is '{slot}' here)"
            )
    return Parameters(document=document, aliases=aliases, resolved=resolved, columns=used)


def _with_defaults(schema: Mapping[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    for name, rule in schema.get("properties", {}).items():
        if isinstance(rule, dict) and "default" in rule and name not in document:
            document[name] = copy.deepcopy(rule["default"])
    return document


def _path(error: ValidationError) -> str:
    text = ""
    for step in error.absolute_path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _refusal(template: Template, error: ValidationError) -> InvalidInputError:
    where, rule, bound = _path(error), str(error.validator), error.validator_value
    here = f"parameter '{where}'" if where else "the parameters"
    if rule == "required" and isinstance(error.instance, dict):
        missing = [name for name in bound if name not in error.instance]
        problem = f"{here}: '{missing[0]}' is missing"
    elif rule == "additionalProperties" and isinstance(error.schema, dict):
        known = ", ".join(sorted(error.schema.get("properties", {})))
        problem = f"{here}: there is a name that is not known (known: {known})"
    elif rule in _SAFE_RULES:
        problem = f"{here} does not fulfil '{rule}: {bound}'"
    else:
        problem = f"{here} does not fulfil '{rule}'"
    return InvalidInputError(
        f"template '{template.name}': {problem}", hint=f"see 'opaque-jobs template show {template.name}'", parameter=where
    )


class _Resolver:
    """Walks schema and document side by side; where the schema says "column", the document's text becomes a reference."""

    def __init__(self, aliases: Mapping[str, str], datasets: Mapping[str, Sequence[Column]]) -> None:
        self._aliases = aliases
        self._datasets = datasets
        self.used: set[tuple[str, str]] = set()

    def resolve(self, schema: Any, value: Any, path: str, root: Mapping[str, Any]) -> Any:
        """Give the value with references in it."""
        if not isinstance(schema, dict):
            return value
        for target in _targets(schema, root):
            value = self.resolve(target, value, path, root)
        if "x-column-of" in schema and isinstance(value, str):
            return self._column(str(schema["x-column-of"]), value, schema, path)
        if schema.get("x-column") is True and isinstance(value, dict):
            return self._column(value.get("dataset", ""), value.get("column", ""), schema, path)
        if isinstance(value, dict):
            rules = schema.get("properties", {})
            return {k: self.resolve(rules.get(k), v, f"{path}.{k}" if path else k, root) for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(schema.get("items"), item, f"{path}[{i}]", root) for i, item in enumerate(value)]
        return value

    def _column(self, slot: str, name: str, schema: Mapping[str, Any], path: str) -> ColumnRef:
        alias = self._aliases.get(slot)
        column = next((c for c in self._datasets[alias] if c.name == name), None) if alias is not None else None
        if alias is None or column is None:
            shown = ", ".join(c.name for c in self._datasets[alias][:30]) if alias else ", ".join(sorted(self._aliases))
            raise InvalidInputError(
                f"parameter '{path}' names a column or data set that is not there",
                hint=f"'{alias}' has: {shown}" if alias else f"choose one of: {shown}",
                parameter=path,
            )
        family = _family(column.type)
        wanted: Iterator[str] = iter(schema.get("x-families", []))
        if (allowed := list(wanted)) and family not in allowed:
            raise InvalidInputError(
                f"parameter '{path}' names a column of type {column.type}",
                hint=f"it must be: {', '.join(allowed)}",
                parameter=path,
            )
        self.used.add((slot, name))
        return ColumnRef(slot=slot, name=name, family=family)


def _targets(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        node: Any = root
        for step in reference.removeprefix("#/").split("/"):
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        yield node
    for word in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(word, [])
