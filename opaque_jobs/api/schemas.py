"""The OpenAPI document, read off the declared operations."""

import re
from typing import Any, Final

from fastapi import FastAPI
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from opaque_jobs.protocol.operations import Operation, Parameter, Place

__all__ = ["described", "with_components"]

_REF: Final = "#/components/schemas/{model}"
_KEPT: Final = "x-schemas"
_PROBLEM: Final = {
    "description": "A problem document (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_SCHEMA: Final = {
    "title": "Problem",
    "type": "object",
    "properties": {
        "type": {"type": "string", "examples": ["urn:opaque-jobs:error:conflict"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "examples": ["conflict"]},
        "hint": {"type": "string"},
        "facts": {"type": "object"},
    },
    "required": ["type", "title", "status", "code", "hint", "facts"],
}


def described(operation: Operation) -> dict[str, Any]:
    """Give what OpenAPI says about an operation beyond its name and text."""
    definitions: dict[str, Any] = {}
    parameters = [
        {
            "name": "If-Match" if each.place is Place.IF_MATCH else each.name,
            "in": {Place.PATH: "path", Place.QUERY: "query", Place.IF_MATCH: "header"}[each.place],
            "required": each.required,
            "schema": _schema(each.kind, definitions),
        }
        for each in operation.parameters.values()
        if each.place is not Place.BODY
    ]
    if operation.method == "POST":
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key again gives the first answer again, and changes nothing more.",
                "schema": {"type": "string", "minLength": 16, "maxLength": 128},
            }
        )
    extra: dict[str, Any] = {"parameters": parameters, _KEPT: definitions}
    body = [each for each in operation.parameters.values() if each.place is Place.BODY]
    if body:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _object(body, definitions)}}}
    extra["responses"] = {"default": _PROBLEM, **_good(operation, definitions)}
    extra["security"] = [] if operation.anonymous else [{"session": []}]
    return extra


def _good(operation: Operation, definitions: dict[str, Any]) -> dict[str, Any]:
    if operation.result is None:
        return {"204": {"description": "Done"}}
    return {"200": {"description": "Done", "content": {"application/json": {"schema": _schema(operation.result, definitions)}}}}


def _object(body: list[Parameter], definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {each.name: _schema(each.kind, definitions) for each in body},
        "required": [each.name for each in body if each.required],
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    try:
        schema = TypeAdapter(kind).json_schema(ref_template=_REF)
    except PydanticUserError:
        return {}
    found = schema.pop("$defs", {})
    definitions |= {_name(name): _written(each) for name, each in found.items()}
    written: dict[str, Any] = _written(schema)
    return written


def _name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _written(value: Any) -> Any:
    """Say how bytes are written, and drop what is ours to know."""
    if isinstance(value, list):
        return [_written(each) for each in value]
    if not isinstance(value, dict):
        return value
    written = {name: _written(each) for name, each in value.items()}
    if written.get("format") == "binary":
        written["format"] = "byte"
    if "$ref" in written:
        written["$ref"] = _REF.format(model=_name(written["$ref"].rpartition("/")[2]))
    return written


def with_components(app: FastAPI) -> None:
    """Have the application's OpenAPI document hold the schemas of its operations' documents."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = _PROBLEM_SCHEMA
            components["securitySchemes"] = {
                "session": {"type": "http", "scheme": "DPoP", "description": "A session that a member's signing key signed for"}
            }
            for path in document.get("paths", {}).values():
                for each in path.values():
                    schemas |= each.pop(_KEPT, {})
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
