"""Who is asking: a member by a token and their session's proof (RFC 9449), or a person whom the server around it knows.

An authenticator gives an actor or raises; the routes know no other way to one.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from fastapi import Request

from opaque_jobs.api.actor import Actor, Via
from opaque_jobs.api.problems import UnauthenticatedError
from opaque_jobs.api.tokens import Session, Tokens
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.login import PROOF_S, verify_login, verify_proof
from opaque_jobs.crypto.signing import claimed_key_id
from opaque_jobs.errors import OpaqueJobsError, TrustError

__all__ = ["Authenticator", "KeyAuthenticator", "KeyOf", "first_of"]

_MOST_PROOFS: Final = 100_000

KeyOf = Callable[[str], VerifyKey]
"""Gives the registered key of a member by id; raises `NotFoundError` for nobody."""


class Authenticator(Protocol):
    """Tells who sent a request."""

    def __call__(self, request: Request) -> Actor | None:
        """Give who it is; None where the request does not say so in this authenticator's way.

        Raises:
            UnauthenticatedError: It says so, and it is not true.
        """


@dataclass(slots=True)
class _SeenProofs:
    """Ids of the proofs of the last two minutes: each is good once."""

    _guard: threading.Lock = field(default_factory=threading.Lock)
    _seen: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def add(self, proof_id: str, now: datetime) -> bool:
        """Remember one; False if it was here before, or there is no room to tell."""
        moment = now.timestamp()
        with self._guard:
            while self._seen and next(iter(self._seen.values())) < moment - 2 * PROOF_S:
                self._seen.popitem(last=False)
            if proof_id in self._seen or len(self._seen) >= _MOST_PROOFS:
                return False
            self._seen[proof_id] = moment
            return True


class KeyAuthenticator:
    """Members by their keys.

    Args:
        tokens: Of this coordinator.
        key_of: Registered keys.
        origins: This coordinator's own addresses, such as `https://coordinator.example`.
        now: The clock.
    """

    def __init__(self, tokens: Tokens, key_of: KeyOf, *, origins: Iterable[str], now: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._key_of = key_of
        self._origins = frozenset(origins)
        self._now = now
        self._seen = _SeenProofs()

    def __call__(self, request: Request) -> Actor | None:
        """See `Authenticator`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "dpop":
            return None
        now = self._now()
        try:
            session = self._tokens.session(token, now=now)
            self._prove(request, session, token, now)
            # A key that was changed since, or a member who is gone, is noticed when the next token is asked for, in minutes.
        except OpaqueJobsError as error:
            raise UnauthenticatedError(error.message, hint=error.hint) from None
        return Actor(member_id=session.member_id, via=Via.KEY)

    def challenge(self) -> str:
        """Give what a login has to sign."""
        return self._tokens.challenge(now=self._now())

    def log_in(self, request: Request, envelope: bytes, member_id: str) -> tuple[str, datetime]:
        """Give a token for a signed login, and when it ends.

        Raises:
            UnauthenticatedError: The login is not the member's, not for this coordinator, over, or not proven.
        """
        now = self._now()
        try:
            key = self._key_of(member_id)
            if claimed_key_id(envelope) != key.key_id:
                raise TrustError("the login is signed with another key than the member's", hint="was the key changed?")
            login = verify_login(envelope, key, now=now)
            if login.member_id != member_id or login.coordinator not in self._origins:
                raise TrustError("the login is for another coordinator or member", hint="log in again")
            self._tokens.check_challenge(login.challenge, signed_at=login.issued_at)
            session = Session(member_id=member_id, key=VerifyKey.parse(login.session_key))
            self._prove(request, session, "", now)
        except OpaqueJobsError as error:
            raise UnauthenticatedError(error.message, hint=error.hint) from None
        return self._tokens.issue(session, now=now, until=login.expires_at)

    def _prove(self, request: Request, session: Session, token: str, now: datetime) -> None:
        path, query = request.scope["raw_path"].partition(b"?")[0], request.scope["query_string"]
        target = (path + b"?" + query if query else path).decode("latin-1")
        proof_id = verify_proof(
            request.headers.get("dpop", ""), session.key, method=request.method, target=target, token=token, now=now
        )
        if not self._seen.add(proof_id, now):
            raise TrustError("the request was sent before", hint="send it again with a new proof")


def first_of(authenticators: Iterable[Authenticator]) -> Callable[[Request], Actor]:
    """Give what asks each in turn.

    The result raises `UnauthenticatedError` where nobody is known.
    """
    known = tuple(authenticators)

    def actor(request: Request) -> Actor:
        for authenticator in known:
            found = authenticator(request)
            if found is not None:
                return found
        raise UnauthenticatedError("nobody is logged in", hint="log in")

    return actor
