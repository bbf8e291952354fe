"""Frozen dataclasses to closed JSON documents and back.

Everything that is signed, sealed or sent is one of our dataclasses. `to_json` writes all of its fields; `from_json` takes
untrusted JSON and gives the dataclass only if fields and types match exactly: nothing unknown, nothing missing, no coercion.
Bytes are written as base64 (RFC 4648, section 4), times as RFC 3339 with their offset.
"""

import base64
import binascii
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.errors import InvalidInputError

__all__ = ["from_bytes", "from_json", "to_bytes", "to_json"]

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Give the JSON form of a document dataclass, or of a tuple, dict, enum or scalar inside one."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, datetime) else value


def to_bytes(value: Any) -> bytes:
    """Give the canonical bytes (RFC 8785) of a document dataclass."""
    return canonical_bytes(to_json(value))


def from_bytes(kind: type[T], data: bytes, *, what: str) -> T:
    """Parse untrusted canonical bytes as one document.

    Raises:
        InvalidInputError: Not canonical JSON, or not exactly this document.
    """
    names = [field.name for field in fields(cast(Any, kind))]
    return from_json(kind, parse_canonical(data, fields=names, what=what), what=what)


def from_json(kind: type[T], document: Any, *, what: str) -> T:
    """Parse untrusted JSON values as one document.

    Raises:
        InvalidInputError: A field is missing, unknown, of another type, or breaks an invariant.
    """
    return cast(T, _parse(kind, document, what))


def _refuse(what: str) -> InvalidInputError:
    return InvalidInputError(f"{what} does not have the expected form", hint="was it written by another version?")


def _parse(kind: Any, value: Any, what: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _parse_union(get_args(kind), value, what)
    if origin is tuple and isinstance(value, list):
        return tuple(_parse(get_args(kind)[0], item, what) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _parse(get_args(kind)[1], item, f"{what}, {key}") for key, item in value.items()}
    if is_dataclass(origin or kind):
        return _parse_dataclass(origin or kind, get_args(kind), value, what)
    return _parse_scalar(kind, value, what)


def _aware(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


_FROM_TEXT: Mapping[Any, Any] = {bytes: lambda text: base64.b64decode(text, validate=True), datetime: _aware}


def _parse_scalar(kind: Any, value: Any, what: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, StrEnum) and isinstance(value, str) and value in set(kind):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in _FROM_TEXT and isinstance(value, str):
        try:
            return _FROM_TEXT[kind](value)
        except (binascii.Error, ValueError):
            raise _refuse(what) from None
    if type(value) is not kind:
        raise _refuse(what)
    return value


def _parse_union(kinds: tuple[Any, ...], value: Any, what: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    candidates = [kind for kind in kinds if kind is not type(None)]
    for kind in candidates[:-1]:
        try:
            return _parse(kind, value, what)
        except InvalidInputError:
            continue
    return _parse(candidates[-1], value, what)


def _parse_dataclass(kind: Any, arguments: tuple[Any, ...], value: Any, what: str) -> Any:
    types_of = _types(kind)
    if not isinstance(value, dict) or value.keys() != types_of.keys():
        raise _refuse(what)
    given = {name: each[arguments] if getattr(each, "__parameters__", ()) else each for name, each in types_of.items()}
    return kind(**{name: _parse(each, value[name], f"{what}, {name}") for name, each in given.items()})


@lru_cache(maxsize=256)
def _types(kind: Any) -> Mapping[str, Any]:
    """Give the fields of a document dataclass, in order, with their types; looked up once for each of our own classes."""
    hints = get_type_hints(kind)
    return types.MappingProxyType({field.name: hints[field.name] for field in fields(kind)})
