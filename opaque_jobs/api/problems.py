"""Errors as problem documents (RFC 9457): the same code, hint and facts as on the command line."""

from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from opaque_jobs.errors import (
    ConfigurationError,
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    OpaqueJobsError,
    SandboxError,
    TrustError,
)

__all__ = ["MEDIA_TYPE", "STATUS", "UnauthenticatedError", "add_handlers", "problem"]

MEDIA_TYPE: Final = "application/problem+json"


class UnauthenticatedError(DeniedError):
    """Nobody is logged in, or not with the key that the request needs."""

    code = "unauthenticated"


STATUS: Final[dict[type[OpaqueJobsError], int]] = {
    UnauthenticatedError: 401,
    InvalidInputError: 400,
    DeniedError: 403,
    TrustError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    ConfigurationError: 503,
    SandboxError: 503,
    OpaqueJobsError: 500,
}
"""HTTP status of the first that an error is."""
_CODES: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "not-json"}


def problem(status: int, *, code: str, title: str, hint: str = "", **facts: Any) -> JSONResponse:
    """Give a problem document; `type` ends with the error's code."""
    body = {"type": f"urn:opaque-jobs:error:{code}", "title": title, "status": status, "code": code, "hint": hint, "facts": facts}
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Answer every error with a problem document; what is not ours says nothing but that it happened."""

    @app.exception_handler(OpaqueJobsError)
    async def on_error(_request: Request, error: Exception) -> Response:
        known = error if isinstance(error, OpaqueJobsError) else OpaqueJobsError("internal error")
        status = next(status for kind, status in STATUS.items() if isinstance(known, kind))
        answer = problem(status, code=known.code, title=known.message, hint=known.hint, **known.facts)
        if status == STATUS[UnauthenticatedError]:
            answer.headers["WWW-Authenticate"] = 'DPoP algs="Ed25519"'
        return answer

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return problem(status, code=_CODES.get(status, "http"), title="this address does not do that", hint="see openapi.json")

    @app.exception_handler(Exception)
    async def on_defect(_request: Request, _error: Exception) -> Response:
        return problem(500, code="internal", title="internal error", hint="the coordinator's operator finds more in its log")
