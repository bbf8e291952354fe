"""The coordinator's application: every declared noun over the use cases of the same name, and logging in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.authentication import Authenticator, KeyAuthenticator, first_of
from opaque_jobs.api.binding import add_operation, read_body
from opaque_jobs.api.idempotency import Answers, once
from opaque_jobs.api.problems import add_handlers
from opaque_jobs.api.schemas import with_components
from opaque_jobs.domain.canonical import parse_json, require_fields
from opaque_jobs.errors import DeniedError, InvalidInputError
from opaque_jobs.protocol.operations import ROUTES, operations_of

__all__ = ["Noun", "create_api"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """What the API can be asked about one kind of thing.

    Args:
        declared: The class of declarations.
        use_cases: Has a method for each of them.
    """

    declared: type
    use_cases: Any


def create_api(
    nouns: Mapping[str, Noun],
    *,
    keys: KeyAuthenticator,
    others: Iterable[Authenticator] = (),
    answers: Answers,
    now: Callable[[], datetime],
    version: str,
) -> tuple[FastAPI, Callable[[Request], Actor]]:
    """Give the application, and what tells who sent a request, for further routes.

    Args:
        nouns: By name.
        keys: Members by their keys.
        others: Further ways to know who asks, such as Airflow's session.
        answers: Where answers to changes are kept.
        now: The clock.
        version: Of this program.
    """
    app = FastAPI(
        title="opaque-jobs coordinator",
        version=version,
        description="Jobs on data that stays sealed. The coordinator is trusted with nothing: what counts is signed by members.",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{ROUTES}/openapi.json",
    )
    add_handlers(app)
    authenticate = first_of([keys, *others])

    def actor(request: Request) -> Actor:
        _own_origin(request)
        return authenticate(request)

    def run_once(request: Request, owner: str, body: bytes, carry_out: Callable[[], Response]) -> Response:
        return once(request, owner=owner, body=body, answers=answers, now=now(), carry_out=carry_out)

    for name, noun in nouns.items():
        for operation in operations_of(name, noun.declared):
            add_operation(app, operation, getattr(noun.use_cases, operation.name), actor=actor, once=run_once)
    _add_login(app, keys)
    with_components(app)
    return app, actor


_LOGIN_SCHEMA: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"member_id": {"type": "string"}, "login": {"type": "string", "description": "DSSE envelope as text"}},
    "required": ["member_id", "login"],
}


def _add_login(app: FastAPI, keys: KeyAuthenticator) -> None:
    @app.post(f"{ROUTES}/auth/challenge", tags=["auth"], summary="Get something fresh to sign", operation_id="auth.challenge")
    async def challenge(request: Request) -> Response:
        _own_origin(request)
        return JSONResponse({"challenge": keys.challenge()})

    @app.post(
        f"{ROUTES}/auth/token",
        tags=["auth"],
        summary="Get an access token for a login that the member signed",
        operation_id="auth.token",
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _LOGIN_SCHEMA}}}},
    )
    async def token(request: Request) -> Response:
        _own_origin(request)
        body = require_fields(parse_json(await read_body(request), what="login"), ("member_id", "login"), what="login")
        member_id, envelope = body["member_id"], body["login"]
        if not isinstance(member_id, str) or not isinstance(envelope, str):
            raise InvalidInputError("the login is not valid", hint="see openapi.json")
        given, expires = await run_in_threadpool(keys.log_in, request, envelope.encode(), member_id)
        return JSONResponse({"token": given, "expires_at": expires.isoformat()}, headers={"Cache-Control": "no-store"})


def _own_origin(request: Request) -> None:
    """Refuse what a browser sends for another site's page: only browsers name an origin."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise DeniedError("a page of another site asks", hint="the API answers programs, and its own pages")
