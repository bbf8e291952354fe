"""Talking to brokers: the blind relay for enclaves, and the owner's and members' side.

The relay carries ciphertext and public documents, and only to the protocol's own paths. It does not retry: nonces are good
once, and a release that was answered counts even if the answer got lost.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx

from opaque_jobs.attestation.kbs import parse_reasons
from opaque_jobs.crypto.acknowledgement import verify_acknowledgement
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.canonical import canonical_bytes, parse_json
from opaque_jobs.domain.log import LogPage
from opaque_jobs.errors import (
    ConfigurationError,
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    OpaqueJobsError,
    TrustError,
)
from opaque_jobs.protocol.broker import NONCE_HEADER, STANDING_PATH, standing_said

__all__ = ["BrokerClient", "Relayed"]

TIMEOUT_S: Final = 20.0
_MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_COOKIE_NAME: Final = "kbs-session-id"
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_RELAYED: Final = re.compile(rf"POST /kbs/v0/(auth|attest)|GET /kbs/v0/resource/{_SEGMENT}/{_SEGMENT}/[0-9]{{1,9}}")
_ERRORS: Final[dict[int, type[OpaqueJobsError]]] = {
    400: InvalidInputError,
    403: TrustError,
    404: NotFoundError,
    409: ConflictError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """A broker's answer.

    Args:
        status: HTTP status; 0 if the broker could not be reached.
        cookie: Session id that the broker set, or empty.
        body: Text.
    """

    status: int
    cookie: str
    body: str


_UNREACHED: Final = Relayed(status=0, cookie="", body="")


class BrokerClient:
    """One broker.

    Args:
        address: `http(s)://host:port`.
        timeout_s: For connecting, and for each answer.
        transport: Another way there, for tests.
    """

    def __init__(self, address: str, *, timeout_s: float = TIMEOUT_S, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=address, timeout=timeout_s, transport=transport, trust_env=False, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def relay(self, *, method: str, path: str, cookie: str, body: str) -> Relayed:
        """Carry one request of an enclave; never raises for what a broker or the network does.

        Args:
            method: As the agent asked.
            path: As the agent asked.
            cookie: The session id from before, or empty.
            body: Text; empty for GET.

        Raises:
            DeniedError: The request is not one of the protocol's.
        """
        if not _RELAYED.fullmatch(f"{method} {path}") or (cookie and not _COOKIE.fullmatch(cookie)):
            raise DeniedError("the enclave asked for something else than the broker protocol", hint="the run was stopped")
        headers = {"content-type": "application/json"}
        if cookie:
            headers["cookie"] = f"{_COOKIE_NAME}={cookie}"
        try:
            answer, text = self._exchange(method, path, body.encode() if method == "POST" else None, headers)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, UnicodeDecodeError):
            return _UNREACHED
        session = answer.cookies.get(_COOKIE_NAME) or ""
        return Relayed(status=answer.status_code, cookie=session if _COOKIE.fullmatch(session) else "", body=text)

    def deposit(self, *, key: VerifyKey, deposit: bytes, manifest: bytes) -> None:
        """Deposit a dataset's key at its owner's broker.

        Args:
            key: What this broker signs with, from trusted context; it must sign that it kept this.
            deposit: `custody.sign_deposit`.
            manifest: `consent.sign_manifest`.

        Raises:
            ConfigurationError: The broker cannot be reached.
            TrustError: It does not believe one of them, or who answers is not this broker.
            ConflictError: It holds another key for this version.
        """
        self._post("/opaque/v1/deposits", key, {"deposit": deposit.decode(), "manifest": manifest.decode()})

    def ask_policy(self, question: bytes) -> bytes:
        """Ask for a data set's release policy; `policies.open_answer` verifies and opens what comes.

        Raises:
            ConfigurationError: The broker cannot be reached.
            NotFoundError: It holds nothing of this data set.
            TrustError: It does not believe the question.
        """
        body = canonical_bytes({"question": question.decode()})
        return str(self._answered("POST", "/opaque/v1/policies", body).get("answer")).encode()

    def push(
        self,
        *,
        key: VerifyKey,
        roster: bytes | None,
        acceptances: Sequence[bytes] = (),
        earlier: Sequence[tuple[bytes, Sequence[bytes]]] = (),
        withdrawals: Sequence[bytes] = (),
        sharings: Sequence[bytes] = (),
        holds: Sequence[bytes] = (),
    ) -> None:
        """Tell a broker of a member list in force, of withdrawals, of sharing, and of what its owner holds back.

        Args:
            key: What this broker signs with, from trusted context; it must sign that it kept this.
            roster: Of the member list; None without.
            acceptances: Of the member list.
            earlier: The lists of the epochs before, each with its acceptances.
            withdrawals: Of consent.
            sharings: Of data sets.
            holds: By the owner.

        Raises:
            ConfigurationError: The broker cannot be reached.
            TrustError: It does not believe something and keeps nothing of the call, or who answers is not this broker.
        """
        self._post(
            "/opaque/v1/statements",
            key,
            {
                "roster": None if roster is None else roster.decode(),
                "acceptances": [each.decode() for each in acceptances],
                "earlier": [
                    {"roster": each.decode(), "acceptances": [text.decode() for text in signed]} for each, signed in earlier
                ],
                "withdrawals": [each.decode() for each in withdrawals],
                "sharings": [each.decode() for each in sharings],
                "holds": [each.decode() for each in holds],
            },
        )

    def standing(self, *, key: VerifyKey, scope: str, subject: str, basis: str = "") -> tuple[str, ...]:
        """Ask which vetoes stand on something: what a lift, or a new sharing, has to name.

        Args:
            key: What this broker signs with, from trusted context; it must sign its answer.
            scope: Of a hold, or `vetoes.SHARING`.
            subject: What is held.
            basis: Digest of the workspace's first member list, for sharings.

        Raises:
            ConfigurationError: The broker cannot be reached.
            TrustError: Who answers is not this broker.
        """
        body, nonce = canonical_bytes({"scope": scope, "subject": subject, "basis": basis}), os.urandom(16).hex()
        answer = self._answered("POST", STANDING_PATH, body, nonce=nonce)
        named = answer.get("standing")
        standing = tuple(str(each) for each in named) if isinstance(named, list) else ()
        said = standing_said(body, standing)
        self._check_said(answer.get("acknowledgement"), key, path=STANDING_PATH, nonce=nonce, body=said)
        return standing

    def followed_to(self, workspace_id: str) -> int:
        """Ask how many entries of a workspace's log the broker has followed.

        Raises:
            ConfigurationError: The broker cannot be reached.
        """
        size = self._answered("GET", f"/opaque/v1/logs/{workspace_id}", None).get("size")
        return size if type(size) is int else 0

    def follow(self, page: LogPage) -> None:
        """Bring the next entries of a log.

        Raises:
            ConfigurationError: The broker cannot be reached.
            ConflictError: It stands elsewhere meanwhile.
            TrustError: It does not believe them.
        """
        self._answered("POST", "/opaque/v1/logs", page.to_bytes())

    def health(self) -> dict[str, Any]:
        """Ask whose broker it is and for its public keys.

        Trust: nothing is verified; for showing, and for waiting until it is up.

        Raises:
            ConfigurationError: The broker cannot be reached.
        """
        return self._answered("GET", "/opaque/v1/health", None)

    def _post(self, path: str, key: VerifyKey, document: dict[str, Any]) -> None:
        body, nonce = canonical_bytes(document), os.urandom(16).hex()
        said = self._answered("POST", path, body, nonce=nonce).get("acknowledgement")
        self._check_said(said, key, path=path, nonce=nonce, body=body)

    def _check_said(self, said: object, key: VerifyKey, *, path: str, nonce: str, body: bytes) -> None:
        try:
            verify_acknowledgement(str(said).encode(), key, path=path, nonce=nonce, body=body)
        except OpaqueJobsError:
            raise TrustError(
                f"what answers at {self._client.base_url} did not prove to be the key broker that it should be",
                hint="take it as not told: is the address right? see 'opaque-jobs broker show' and 'opaque-jobs broker move'",
            ) from None

    def _exchange(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[httpx.Response, str]:
        """Send one request; the client's own cookie jar stays empty, so sessions never mix."""
        self._client.cookies.clear()
        with self._client.stream(method, path, content=content, headers=headers) as answer:
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _MAX_ANSWER_BYTES:
                    raise httpx.DecodingError("answer too long")
        self._client.cookies.clear()
        return answer, data.decode()

    def _answered(self, method: str, path: str, content: bytes | None, *, nonce: str = "") -> dict[str, Any]:
        headers = {"content-type": "application/json", **({NONCE_HEADER: nonce} if nonce else {})}
        try:
            answer, text = self._exchange(method, path, content, headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeDecodeError):
            raise ConfigurationError(
                f"the key broker at {self._client.base_url} cannot be reached",
                hint="start it with 'opaque-jobs up', or alone with 'opaque-jobs broker serve --org ORG'",
            ) from None
        if answer.status_code == 200:
            document = parse_json(text.encode(), what="the broker's answer")
            return document if isinstance(document, dict) else {}
        raise _error(answer.status_code, text)


def _error(status: int, text: str) -> OpaqueJobsError:
    kind = _ERRORS.get(status, ConfigurationError)
    try:
        problem = parse_json(text.encode(), what="the broker's answer")
    except InvalidInputError:
        problem = {}
    title = problem.get("title") if isinstance(problem, dict) else None
    hint = problem.get("hint") if isinstance(problem, dict) else None
    return kind(
        f"the key broker refused: {title if isinstance(title, str) else 'no reason given'}"[:300],
        hint=hint[:300] if isinstance(hint, str) else "",
        status=status,
        reasons=",".join(parse_reasons(text)),
    )
