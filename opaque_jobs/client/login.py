"""Logging in to a coordinator by a member's signing key: asked for once, then a session key signs each request.

Token and session key stay in this process. A login names the coordinator's origin, so that it is of no use at another.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import httpx

from opaque_jobs.client.connection import refusal_of, unreachable
from opaque_jobs.crypto.keys import Signer, SigningKey
from opaque_jobs.crypto.login import LONGEST, Login, sign_login, sign_proof
from opaque_jobs.domain.document import from_json
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.operations import API_PREFIX

__all__ = ["KeyLogin", "checked_address"]

_TOKEN_PATH: Final = f"{API_PREFIX}/auth/token"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def checked_address(address: str) -> str:
    """Return the origin of a coordinator's address.

    Raises:
        InvalidInputError: It is no address, has more than scheme, host and port, or is plain HTTP beyond this machine.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    rest = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in {"http", "https"} or not host or rest:
        raise InvalidInputError("this is no coordinator's address", hint="write it as https://HOST or https://HOST:PORT")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise InvalidInputError("plain HTTP is for this machine only", hint="write the coordinator's address with https://")
    return f"{parts.scheme}://{parts.netloc}"


class KeyLogin:
    """A member's session at one coordinator; see `client.connection.Sessions`.

    Args:
        http: Asks the coordinator; its base address is the coordinator's.
        origin: That address, as `checked_address` returns it.
        member_id: Who.
        signer: Their key: asked for when the session begins and when it is over, not for each request.
        now: The clock.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        origin: str,
        member_id: str,
        signer: Signer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._http, self._origin, self._member_id, self._signer, self._now = http, origin, member_id, signer, now
        self._key = SigningKey.generate()
        self._login: tuple[bytes, datetime] | None = None
        self._token: str | None = None

    def token(self, *, renew: bool) -> tuple[str, SigningKey]:
        """Return the access token and the session's key; logs in if there is none, or it has to be another.

        Raises:
            ConfigurationError: The coordinator does not answer.
            DeniedError: It does not know the member by this key.
        """
        if renew or self._token is None:
            self._token = self._asked()
        return self._token, self._key

    def _asked(self) -> str:
        now = self._now()
        if self._login is None or self._login[1] <= now:
            self._login = self._signed(now)
        proof = sign_proof(self._key, method="POST", target=_TOKEN_PATH, token="", now=now)
        answer = self._send(
            _TOKEN_PATH, {"member_id": self._member_id, "login": self._login[0].decode()}, headers={"DPoP": proof}
        )
        return from_json(str, answer.get("token"), what="the coordinator's token")

    def _signed(self, now: datetime) -> tuple[bytes, datetime]:
        challenge = self._send(f"{API_PREFIX}/auth/challenge", None, headers={}).get("challenge")
        login = Login(
            v=1,
            coordinator=self._origin,
            member_id=self._member_id,
            session_key=self._key.public.text,
            challenge=from_json(str, challenge, what="the coordinator's challenge"),
            issued_at=now,
            expires_at=now + LONGEST - timedelta(minutes=1),
        )
        return sign_login(login, self._signer), login.expires_at

    def _send(self, path: str, body: dict[str, str] | None, *, headers: dict[str, str]) -> dict[str, object]:
        try:
            response = self._http.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise unreachable(error) from None
        if response.is_error:
            raise refusal_of(response)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        return answer if isinstance(answer, dict) else {}
