"""Challenges and access tokens: what the coordinator gives to somebody who logs in, and recognises again.

Both are made with a secret of the coordinator, so nothing is kept for whoever only asks. A token is bound to the session's key.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["CHALLENGE_S", "TOKEN_S", "Session", "Tokens"]

CHALLENGE_S: Final = 300
"""How long after asking for it a challenge may be signed: somebody may have to type a passphrase."""
TOKEN_S: Final = 900
_ALGORITHM: Final = "HS256"
_CHALLENGE: Final = {"alg": _ALGORITHM, "typ": "challenge+jwt"}
_ACCESS: Final = {"alg": _ALGORITHM, "typ": "at+jwt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who a token is for, and the key that signs their requests."""

    member_id: str
    key: VerifyKey


class Tokens:
    """Makes and recognises challenges and tokens of one coordinator.

    Args:
        secret: At least 32 random bytes; the same for all its processes.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = OctKey.import_key(secret)

    def challenge(self, *, now: datetime) -> str:
        """Give something fresh to sign."""
        claims = {"iat": int(now.timestamp()), "jti": secrets.token_urlsafe(16)}
        return jwt.encode(dict(_CHALLENGE), claims, self._key, algorithms=[_ALGORITHM])

    def check_challenge(self, text: str, *, signed_at: datetime) -> None:
        """Check that a challenge was given here, not long before it was signed.

        Raises:
            TrustError: It was not.
        """
        asked = self._read(text, _CHALLENGE).get("iat")
        if type(asked) is not int or not -CHALLENGE_S <= asked - signed_at.timestamp() <= CHALLENGE_S:
            raise TrustError("the challenge was not given for this login", hint="log in again")

    def issue(self, session: Session, *, now: datetime, until: datetime) -> tuple[str, datetime]:
        """Give an access token for a session that ends `until`, and when the token ends."""
        expires = min(until, now + timedelta(seconds=TOKEN_S))
        claims = {"sub": session.member_id, "key": session.key.text, "exp": int(expires.timestamp())}
        return jwt.encode(dict(_ACCESS), claims, self._key, algorithms=[_ALGORITHM]), expires

    def session(self, token: str, *, now: datetime) -> Session:
        """Recognise a token.

        Raises:
            TrustError: It was not given here, or is over.
        """
        claims = self._read(token, _ACCESS)
        expires, member_id = claims.get("exp"), claims.get("sub")
        if type(expires) is not int or now.timestamp() >= expires or not isinstance(member_id, str):
            raise TrustError("the access token is over", hint="log in again")
        try:
            return Session(member_id=member_id, key=VerifyKey.parse(claims.get("key")))
        except InvalidInputError:
            raise TrustError("the access token is over", hint="log in again") from None

    def _read(self, text: str, header: dict[str, str]) -> dict[str, Any]:
        try:
            decoded = jwt.decode(text, self._key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError, TypeError, RecursionError):
            decoded = None
        if decoded is None or decoded.header != header:
            raise TrustError("this was not given by this coordinator", hint="log in again")
        return dict(decoded.claims)
