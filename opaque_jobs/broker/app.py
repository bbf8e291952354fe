"""The broker over HTTP: a subset of Trustee's KBS protocol for enclaves, and `/opaque/v1` for owners and members.

Bodies are JSON, read as bytes and parsed by our own strict parsers. No page loads anything from elsewhere.
"""

import html
from collections.abc import Callable
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Scope

from opaque_jobs.attestation.kbs import (
    ATTEST_PATH,
    AUTH_PATH,
    UNLOGGED_STATUS,
    attest_answer,
    auth_answer,
    parse_auth,
    problem_body,
    unlogged_body,
)
from opaque_jobs.broker.monitor import accept_page, followed_to
from opaque_jobs.broker.peers import FairShares, in_turn, peer_of
from opaque_jobs.broker.policy import Refused
from opaque_jobs.broker.questions import answer_policy
from opaque_jobs.broker.release import Broker, Token, Unlogged
from opaque_jobs.broker.sessions import TOO_MANY
from opaque_jobs.broker.statements import accept_deposit, accept_statements, parse_statements, standing_vetoes
from opaque_jobs.crypto.acknowledgement import sign_acknowledgement
from opaque_jobs.errors import (
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    OpaqueJobsError,
    TrustError,
)
from opaque_jobs.protocol.broker import NONCE_HEADER, STANDING_PATH, standing_said

__all__ = ["COOKIE", "create_app"]

COOKIE: Final = "kbs-session-id"
MAX_BODY_BYTES: Final = {
    AUTH_PATH: 1 << 12,
    ATTEST_PATH: 8 << 20,
    "/opaque/v1/deposits": 4 << 20,
    "/opaque/v1/policies": 1 << 14,
    "/opaque/v1/statements": 8 << 20,
    STANDING_PATH: 1 << 12,
    "/opaque/v1/logs": 16 << 20,
}
"""Of each route that takes a body; none takes more than it needs for the largest that is ever sent."""
_MAX_NONCE: Final = 64
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_REFUSAL: Final[dict[int | str, dict[str, Any]]] = {
    403: {"description": "Refused; `reasons` lists fixed codes", "content": {_PROBLEM: {}}},
}

_UNLOGGED: Final[dict[int | str, dict[str, Any]]] = {
    UNLOGGED_STATUS: {"description": "Append `statement` to the workspace's log, then ask again", "content": {_PROBLEM: {}}},
}


def _body(description: str) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {_JSON: {"schema": {"type": "object"}}},
        }
    }


class _TooLongError(InvalidInputError):
    """A body beyond the limit."""


class _NotJsonError(InvalidInputError):
    """A body that does not say that it is JSON."""


_STATUS: Final = {
    _NotJsonError: 415,
    InvalidInputError: 400,
    DeniedError: 403,
    TrustError: 403,
    NotFoundError: 404,
    ConflictError: 409,
}
"""The first that an error is."""


async def _own_origin(request: Request) -> None:
    """Refuse what a browser sends for another site's page: only browsers name an origin."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise DeniedError("a page of another site asks", hint="brokers answer programs, and their own page")


async def _read(request: Request) -> bytes:
    # A page of another site can send forms and plain text to this machine without asking first, but no JSON.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise _NotJsonError("the request's body is not said to be JSON", hint=f"send it with 'Content-Type: {_JSON}'")
    limit = MAX_BODY_BYTES[request.scope["route"].path]
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise _TooLongError("the request is too long", hint="was the right thing sent?", limit_bytes=limit)
    return bytes(data)


def _problem(status: int, title: str, **more: Any) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, **more}
    return JSONResponse(body, status_code=status, media_type=_PROBLEM)


def _refusal(refused: Refused) -> Response:
    status, title = (429, "too many requests") if refused == TOO_MANY else (403, "release refused")
    body = problem_body(status=status, title=title, reasons=refused.reasons)
    return Response(body, status_code=status, media_type=_PROBLEM)


def create_app(broker: Broker, *, peer: Callable[[Scope], str] = peer_of) -> FastAPI:
    """Give the web application of one broker.

    Args:
        broker: The broker.
        peer: Tells who sends a request.
    """
    app = FastAPI(
        title="opaque-jobs key broker",
        version="1",
        description="The key broker of one organisation. It decides alone, and releases nothing by default.",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_own_origin)],
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.add_middleware(FairShares, refuse=_refusal(TOO_MANY), peer=peer)

    @app.exception_handler(OpaqueJobsError)
    async def on_error(_request: Request, error: Exception) -> Response:
        known = error if isinstance(error, OpaqueJobsError) else OpaqueJobsError("internal")
        status = next((code for kind, code in _STATUS.items() if isinstance(known, kind)), 500)
        reasons = [word for word in str(known.facts.get("reasons", "")).split(",") if word]
        return _problem(status, known.message, hint=known.hint, reasons=reasons)

    @app.exception_handler(Exception)
    async def on_defect(_request: Request, _error: Exception) -> Response:
        return _problem(500, "internal error", reasons=["internal"])

    _add_enclave_side(app, broker)
    _add_owner_side(app, broker)
    return app


def _add_enclave_side(app: FastAPI, broker: Broker) -> None:
    @app.post(AUTH_PATH, summary="Get a nonce", tags=["enclave"], openapi_extra=_body("version, tee, extra-params"))
    async def auth(request: Request) -> Response:
        session_id, nonce = broker.begin(parse_auth(await _read(request)))
        response = Response(auth_answer(nonce), media_type=_JSON)
        response.set_cookie(COOKIE, session_id, httponly=True, samesite="strict")
        return response

    @app.post(
        ATTEST_PATH,
        summary="Show evidence, get an attestation result",
        tags=["enclave"],
        responses=_REFUSAL,
        openapi_extra=_body("runtime-data, init-data, tee-evidence"),
    )
    async def attest(request: Request) -> Response:
        body = await _read(request)
        session_id, peer = request.cookies.get(COOKIE, ""), request.scope["state"]["peer"]
        answer = await in_turn(request.scope, lambda: broker.attest(session_id, body, peer=peer))
        if isinstance(answer, Token):
            return Response(attest_answer(answer.text), media_type=_JSON)
        return _refusal(answer)

    @app.get(
        "/kbs/v0/resource/{workspace_id}/{dataset_id}/{version}",
        summary="Fetch a dataset's keys, sealed to the attested enclave",
        tags=["enclave"],
        responses=_REFUSAL | _UNLOGGED,
    )
    async def resource(request: Request, workspace_id: str, dataset_id: str, version: int) -> Response:
        def release() -> Any:
            return broker.release(
                request.cookies.get(COOKIE, ""), workspace_id=workspace_id, dataset_id=dataset_id, version=version
            )

        answer = await in_turn(request.scope, release)
        if isinstance(answer, Unlogged):
            return Response(unlogged_body(answer.statement), status_code=UNLOGGED_STATUS, media_type=_PROBLEM)
        return _refusal(answer) if isinstance(answer, Refused) else Response(answer.envelope, media_type=_JSON)


def _add_owner_side(app: FastAPI, broker: Broker) -> None:
    async def accepted(accept: Callable[[bytes], None], request: Request) -> Response:
        body = await _read(request)
        await in_turn(request.scope, lambda: accept(body))
        nonce = request.headers.get(NONCE_HEADER, "")[:_MAX_NONCE]
        said = sign_acknowledgement(broker.keys.signing, path=request.url.path, nonce=nonce, body=body)
        return JSONResponse({"accepted": True, "acknowledgement": said.decode()})

    @app.post(
        "/opaque/v1/deposits",
        summary="Deposit a dataset's key and release policy",
        tags=["owner"],
        openapi_extra=_body("deposit and manifest: DSSE envelopes as texts"),
    )
    async def deposits(request: Request) -> Response:
        return await accepted(lambda body: accept_deposit(broker, body), request)

    @app.post(
        "/opaque/v1/policies",
        summary="Read a data set's release policy, sealed to a member of its owner",
        tags=["owner"],
        openapi_extra=_body("question: DSSE envelope as text"),
    )
    async def policy(request: Request) -> dict[str, Any]:
        body = await _read(request)
        answer: bytes = await in_turn(request.scope, lambda: answer_policy(broker, body))
        return {"answer": answer.decode()}

    @app.post(
        "/opaque/v1/statements",
        summary="Tell of member lists, withdrawals, sharing and holds",
        tags=["owner"],
        openapi_extra=_body("roster, acceptances, withdrawals, sharings, holds: texts"),
    )
    async def statements(request: Request) -> Response:
        return await accepted(lambda body: accept_statements(broker, parse_statements(body)), request)

    @app.post(
        STANDING_PATH,
        summary="Which holds, or takings back of a data set, stand on something",
        tags=["owner"],
        openapi_extra=_body("scope, subject, basis: texts"),
    )
    async def standing(request: Request) -> Response:
        body = await _read(request)
        found = await in_turn(request.scope, lambda: standing_vetoes(broker, body))
        nonce = request.headers.get(NONCE_HEADER, "")[:_MAX_NONCE]
        said = sign_acknowledgement(broker.keys.signing, path=request.url.path, nonce=nonce, body=standing_said(body, found))
        return JSONResponse({"standing": list(found), "acknowledgement": said.decode()})

    @app.get("/opaque/v1/logs/{workspace_id}", summary="How far a workspace's log was followed", tags=["log"])
    async def followed(request: Request, workspace_id: str) -> dict[str, Any]:
        return {"size": await in_turn(request.scope, lambda: followed_to(broker, workspace_id))}

    @app.post(
        "/opaque/v1/logs",
        summary="Follow a workspace's log over the next entries",
        tags=["log"],
        responses=_REFUSAL,
        openapi_extra=_body("v, workspace_id, first, entries, checkpoint"),
    )
    async def follow(request: Request) -> dict[str, Any]:
        body = await _read(request)
        return {"size": await in_turn(request.scope, lambda: accept_page(broker, body))}

    @app.get("/opaque/v1/health", summary="Is it there, whose is it, which keys", tags=["owner"])
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "organisation_id": broker.config.organisation_id,
            "deposit_key": broker.keys.sealing.public.text,
            "signing_key": broker.keys.signing.public.text,
        }

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(_page(app.openapi()))


def _page(schema: dict[str, Any]) -> str:
    """Show the OpenAPI document as a plain table."""
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td><td>{html.escape(operation['summary'])}</td></tr>"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(schema['info']['title'])}</title>"
        f"<h1>{html.escape(schema['info']['title'])}</h1><p>{html.escape(schema['info']['description'])}</p>"
        f"<table>{rows}</table><p><a href=/openapi.json>openapi.json</a></p></html>"
    )
