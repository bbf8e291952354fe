"""The wire to a coordinator: operations become calls, problems become errors, each request is proven by the session's key.

A call that got no answer may be repeated: changes carry an idempotency key, the same for each attempt.
"""

import json
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar, cast
from urllib.parse import quote

import httpx

from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.login import sign_proof
from opaque_jobs.domain.document import from_json, to_json
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
from opaque_jobs.protocol.operations import API_PREFIX, Operation, Place, operations_of

__all__ = ["Calls", "Connection", "Sessions", "bind", "refusal_of", "unreachable"]

_ERRORS: Final = {
    kind.code: kind
    for kind in (
        ConfigurationError, ConflictError, DeniedError, InvalidInputError, NotFoundError, OpaqueJobsError, SandboxError,
        TrustError,
    )
}  # fmt: skip
_ATTEMPTS: Final = 3
_MOST_TEXT: Final = 500

T = TypeVar("T")


class Sessions(Protocol):
    """Where a member's session comes from."""

    def token(self, *, renew: bool) -> tuple[str, SigningKey] | None:
        """Give the access token and the session's key, asking for a new token if told to; None to ask as nobody."""


class Calls(Protocol):
    """Carries operations to a coordinator."""

    def call(self, operation: Operation, arguments: dict[str, Any]) -> Any:
        """Return an operation's result; raises what the coordinator refuses with."""


class Connection:
    """One coordinator, as one member.

    Args:
        http: Asks it; its base address is the coordinator's.
        sessions: Who asks; None for nobody.
        now: The clock.
    """

    def __init__(
        self, http: httpx.Client, sessions: Sessions | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.http = http
        self._sessions = sessions
        self._now = now
        self._guard = threading.Lock()

    def close(self) -> None:
        """Give back what is open."""
        self.http.close()

    def call(self, operation: Operation, arguments: dict[str, Any]) -> Any:
        """Ask for an operation and give its result.

        Raises:
            OpaqueJobsError: As the coordinator says; or it does not answer, or not as this program expects.
        """
        request = _request(operation, arguments)
        if operation.method == "POST":
            request["headers"]["Idempotency-Key"] = secrets.token_urlsafe(24)
        response = self.send(operation.method, anonymous=operation.anonymous, **request)
        if operation.result is None:
            return None
        return from_json(operation.result, _json(response), what=f"the coordinator's answer to {operation.id}")

    def send(self, method: str, path: str, *, anonymous: bool = False, headers: dict[str, str], **more: Any) -> httpx.Response:
        """Send one request, with a fresh proof for each attempt.

        Raises:
            ConfigurationError: The coordinator does not answer.
            OpaqueJobsError: As it says.
        """
        renew = False
        for attempt in range(1, _ATTEMPTS + 1):
            request = self.http.build_request(method, API_PREFIX + path, headers=headers, **more)
            session = None if anonymous or self._sessions is None else self._sessions.token(renew=renew)
            if session is not None:
                self._prove(request, *session)
            try:
                response = self.http.send(request)
            except httpx.TransportError as error:
                if attempt < _ATTEMPTS and _repeatable(method, headers):
                    continue
                raise unreachable(error) from None
            if response.status_code == httpx.codes.UNAUTHORIZED and session is not None and not renew:
                renew = True
                continue
            if response.is_error:
                raise refusal_of(response)
            return response
        raise unreachable(None)

    def _prove(self, request: httpx.Request, token: str, key: SigningKey) -> None:
        target = request.url.raw_path.decode("ascii")
        request.headers["Authorization"] = f"DPoP {token}"
        request.headers["DPoP"] = sign_proof(key, method=request.method, target=target, token=token, now=self._now())


def bind(declared: type[T], noun: str, connection: Calls) -> T:
    """Give an object that asks the coordinator for what a class declares."""
    operations = {each.name: each for each in operations_of(noun, declared)}

    def method(operation: Operation) -> Callable[..., Any]:
        names = list(operation.parameters)

        def call(_self: object, *positional: Any, **named: Any) -> Any:
            return connection.call(operation, dict(zip(names, positional, strict=False)) | named)

        return call

    bound = type(declared.__name__, (), {name: method(each) for name, each in operations.items()})
    return cast(T, bound())


def _request(operation: Operation, arguments: dict[str, Any]) -> dict[str, Any]:
    unknown = arguments.keys() - operation.parameters.keys()
    lacking = [name for name, each in operation.parameters.items() if each.required and name not in arguments]
    if unknown or lacking:
        raise TypeError(f"{operation.id} was called with other arguments than it has")
    path, query, body, headers = operation.path, [], {}, {}
    for name, value in arguments.items():
        written = to_json(value)
        match operation.parameters[name].place:
            case Place.PATH:
                path = path.replace(f"{{{name}}}", quote(str(written), safe=""))
            case Place.QUERY:
                query += [
                    (name, _text(each)) for each in (written if isinstance(written, list) else [written]) if each is not None
                ]
            case Place.IF_MATCH:
                headers["If-Match"] = f'"{written}"'
            case Place.BODY:
                body[name] = written
    has_body = any(each.place is Place.BODY for each in operation.parameters.values())
    return {"path": path, "headers": headers, "params": query, **({"json": body} if has_body else {})}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _repeatable(method: str, headers: dict[str, str]) -> bool:
    return method != "POST" or "Idempotency-Key" in headers


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise ConfigurationError("the coordinator does not answer in JSON", hint="is its address right?") from None


def refusal_of(response: httpx.Response) -> OpaqueJobsError:
    """Return the error that a problem document names. Its texts are the coordinator's word."""
    try:
        document = response.json()
        kind = _ERRORS.get(document["code"], ConfigurationError if response.status_code >= 500 else DeniedError)
        facts = {name: value for name, value in document["facts"].items() if isinstance(value, str | int | float | bool | None)}
        return kind(str(document["title"])[:_MOST_TEXT], hint=str(document["hint"])[:_MOST_TEXT], **_safe(facts))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ConfigurationError(f"the coordinator answers with status {response.status_code}", hint="is its address right?")


def _safe(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name.isidentifier() and name not in {"message", "hint", "self"}}


def unreachable(error: httpx.TransportError | None) -> ConfigurationError:
    """Return the error for a coordinator that does not answer."""
    kind = type(error).__name__ if error is not None else "no answer"
    return ConfigurationError(
        f"the coordinator does not answer ({kind})", hint="is its address right, and does 'opaque-jobs up' run there?"
    )
