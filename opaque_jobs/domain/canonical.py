"""The one way to turn a document into bytes that are signed or hashed, and back.

RFC 8785 (JCS). Parsing takes untrusted bytes: it refuses duplicate keys, floats that are not finite, halves of characters,
unknown or missing fields, and bytes that are not themselves canonical, so one document has one digest.
"""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any, Final

import rfc8785

from opaque_jobs.errors import InvalidInputError

__all__ = ["MAX_DOCUMENT_BYTES", "canonical_bytes", "digest", "parse_canonical", "parse_json", "require_fields"]

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
_MAX_SAFE_INTEGER: Final = 2**53 - 1
_HALF_CHARACTER: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape that stands for half a character, unless another follows that completes it."""


def canonical_bytes(document: Any) -> bytes:
    """Serialise JSON-like data by RFC 8785.

    Raises:
        InvalidInputError: A number is outside what JSON can carry exactly (|n| > 2^53-1, NaN), or a type is not JSON's.
    """
    try:
        return rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError) as error:
        raise InvalidInputError(
            "a value cannot be written as canonical JSON",
            hint="write whole numbers above 2^53-1 as text; NaN and infinity are not allowed",
        ) from error


def digest(data: bytes) -> str:
    """Give `sha256:<hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


def _refuse_constant(_name: str) -> Any:
    raise ValueError("not a JSON number")


def _safe_integer(text: str) -> int:
    number = int(text) if len(text) < 20 else _MAX_SAFE_INTEGER + 1
    if abs(number) > _MAX_SAFE_INTEGER:
        raise ValueError("integer out of range")
    return number


def parse_json(data: bytes, *, what: str) -> Any:
    """Parse untrusted JSON bytes strictly.

    Args:
        data: UTF-8 JSON.
        what: What the bytes are, for the error.

    Raises:
        InvalidInputError: Not JSON, too long, a duplicate key, a number that is not exact, or half a character (RFC 7493).
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInputError(f"{what} is too long", hint="was the right file given?", limit_bytes=MAX_DOCUMENT_BYTES)
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_safe_integer,
        )
        if _HALF_CHARACTER.search(data):
            json.dumps(document, ensure_ascii=False).encode("utf-8")  # refuses what no text can hold
    except (ValueError, RecursionError):
        raise InvalidInputError(
            f"{what} is not well-formed JSON, or has duplicate keys",
            hint="was the right file given, and is it complete?",
        ) from None
    return document


def require_fields(document: Any, fields: Collection[str], *, what: str) -> dict[str, Any]:
    """Check that a parsed value is an object with exactly these fields.

    Raises:
        InvalidInputError: A field is missing or unknown.
    """
    if not isinstance(document, dict) or set(document) != set(fields):
        raise InvalidInputError(f"{what} has missing or unknown fields", hint="was it written by another version?")
    return document


def parse_canonical(data: bytes, *, fields: Collection[str], what: str) -> dict[str, Any]:
    """Parse untrusted bytes that must be canonical JSON of an object with exactly these fields.

    Raises:
        InvalidInputError: See `parse_json`; also when the bytes are not in canonical form.
    """
    document = require_fields(parse_json(data, what=what), fields, what=what)
    if canonical_bytes(document) != data:
        raise InvalidInputError(f"{what} is not in canonical form (RFC 8785)", hint="write it with this program")
    return document
