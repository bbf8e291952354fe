"""Routes from declared operations: arguments are parsed strictly, who asks is authenticated, the use case of that name answers.

A use case takes the declared arguments by name and `actor`. No route decides who may do what.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.schemas import described
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.operations import ROUTES, Operation, Parameter, Place

__all__ = ["MOST_BODY_BYTES", "add_operation", "etag_of", "read_body"]

MOST_BODY_BYTES: Final = 16 << 20
_JSON: Final = "application/json"

Once = Callable[[Request, str, bytes, Callable[[], Response]], Response]
"""Carries out a change once for each idempotency key: request, whose key, body, change."""


def add_operation(
    app: FastAPI, operation: Operation, use_case: Callable[..., Any], *, actor: Callable[[Request], Actor], once: Once
) -> None:
    """Add the route of one operation."""

    async def endpoint(request: Request) -> Response:
        asking = None if operation.anonymous else await run_in_threadpool(actor, request)
        body = await read_body(request) if _has_body(operation) else b""
        return await run_in_threadpool(answer, request, asking, body)

    def answer(request: Request, asking: Actor | None, body: bytes) -> Response:
        arguments = _arguments(operation, request, _parsed(body))
        if asking is not None:
            arguments["actor"] = asking

        def carried_out() -> Response:
            return _answer(operation, use_case(**arguments))

        return once(request, asking.member_id if asking else "", body, carried_out)

    app.add_api_route(
        ROUTES + operation.path,
        endpoint,
        methods=[operation.method],
        operation_id=operation.id,
        name=operation.id,
        tags=[operation.noun],
        summary=operation.doc.partition("\n")[0],
        description=operation.doc,
        responses={},
        openapi_extra=described(operation),
    )


def etag_of(value: Any) -> str | None:
    """Give the entity tag of what has a version."""
    version = getattr(value, "version", None)
    return f'"{version}"' if type(version) is int else None


def _answer(operation: Operation, value: Any) -> Response:
    if operation.result is None:
        return Response(status_code=204)
    response = Response(json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":")), media_type=_JSON)
    tag = etag_of(value)
    if tag is not None:
        response.headers["ETag"] = tag
    return response


def _has_body(operation: Operation) -> bool:
    return any(each.place is Place.BODY for each in operation.parameters.values())


def _parsed(body: bytes) -> Mapping[str, Any]:
    found = parse_json(body, what="the request") if body else {}
    if not isinstance(found, dict):
        raise InvalidInputError("the request's body is no JSON object", hint="see openapi.json")
    return found


async def read_body(request: Request) -> bytes:
    """Give a JSON body.

    Raises:
        InvalidInputError: It is not said to be JSON, or too long.
    """
    # A page of another site can send forms and plain text to this machine without asking first, but no JSON.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise InvalidInputError("the request's body is not said to be JSON", hint=f"send it with 'Content-Type: {_JSON}'")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BODY_BYTES:
            raise InvalidInputError("the request is too long", hint="was the right thing sent?", limit_bytes=MOST_BODY_BYTES)
    return bytes(data)


def _arguments(operation: Operation, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
    parameters = operation.parameters
    query = {name for name, each in parameters.items() if each.place is Place.QUERY}
    unknown = (set(request.query_params) - query) | (body.keys() - {n for n, p in parameters.items() if p.place is Place.BODY})
    if unknown:
        raise InvalidInputError("the request has an argument that is not known", hint="see openapi.json")
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        value = _given(parameter, request, body)
        if value is not inspect.Parameter.empty:
            found[name] = value
        elif parameter.required:
            raise InvalidInputError(f"the request lacks '{name}'", hint="see openapi.json")
    return found


def _given(parameter: Parameter, request: Request, body: Mapping[str, Any]) -> Any:
    name, what = parameter.name, f"'{parameter.name}' of the request"
    if parameter.place is Place.PATH:
        return _from_text(parameter.kind, request.path_params[name], what)
    if parameter.place is Place.BODY:
        return from_json(parameter.kind, body[name], what=what) if name in body else inspect.Parameter.empty
    if parameter.place is Place.IF_MATCH:
        tag = request.headers.get("if-match")
        return inspect.Parameter.empty if tag is None else _from_text(int, tag.strip().strip('"'), "the header If-Match")
    if name not in request.query_params:
        return inspect.Parameter.empty
    if _is_tuple(parameter.kind):
        return from_json(parameter.kind, request.query_params.getlist(name), what=what)
    return _from_text(parameter.kind, request.query_params[name], what)


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _from_text(kind: Any, text: str, what: str) -> Any:
    """Read what is written as text in an address: JSON's own words for numbers, truth and nothing, anything else as it is."""
    for form in (text, _as_json(text)):
        try:
            return from_json(kind, form, what=what)
        except InvalidInputError:
            continue
    raise InvalidInputError(f"{what} is not valid", hint="see openapi.json")


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
