"""JSON Schema for parameters of templates, whose patterns RE2 matches: others write them than write the values."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from opaque_jobs.domain.patterns import found_in

__all__ = ["ParameterValidator"]


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not found_in(pattern, instance):
        yield ValidationError("does not match the pattern")


ParameterValidator: Final = extend(Draft202012Validator, {"pattern": _pattern})
"""JSON Schema 2020-12. Templates are refused `patternProperties` when they are read."""
