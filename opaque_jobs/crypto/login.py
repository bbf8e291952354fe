"""Logging in to a coordinator: a member's key signs for a session key, and the session key signs each request.

A login names the coordinator that it is for, so that one coordinator cannot use it at another. What the session key signs is a
proof of possession as in DPoP (RFC 9449): a token that somebody reads on the way opens nothing without that key.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError

from opaque_jobs.crypto.jwk import private_jwk, public_jwk
from opaque_jobs.crypto.keys import Signer, SigningKey, VerifyKey
from opaque_jobs.crypto.signing import sign_statement, verify_statement
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["LOGIN", "LONGEST", "PROOF_S", "Login", "sign_login", "sign_proof", "verify_login", "verify_proof"]

LOGIN: Final = "urn:opaque-jobs:login:v1"
LONGEST: Final = timedelta(hours=12)
"""What a login may last."""
PROOF_S: Final = 60
"""How old a request's proof may be, and how far its clock may be ahead."""
_HEADER: Final = {"alg": "Ed25519", "typ": "dpop+jwt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a member signs to log in.

    Args:
        v: Format version, 1.
        coordinator: Origin of the coordinator's address, such as `https://coordinator.example`.
        member_id: Who.
        session_key: Public key (base64) that signs the requests.
        challenge: What that coordinator asked to be signed.
        issued_at: When.
        expires_at: When the session ends, at most `LONGEST` later.
    """

    v: int
    coordinator: str
    member_id: str
    session_key: str
    challenge: str
    issued_at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        if self.v != 1 or not timedelta(0) < self.expires_at - self.issued_at <= LONGEST:
            raise InvalidInputError("a login is not valid", hint="log in again")
        VerifyKey.parse(self.session_key)


def sign_login(login: Login, signer: Signer) -> bytes:
    """Sign a login with the member's key."""
    return sign_statement(
        signer,
        predicate_type=LOGIN,
        subject_name=login.coordinator,
        subject_digest=digest(login.challenge.encode()),
        predicate=to_json(login),
    )


def verify_login(envelope: bytes, key: VerifyKey, *, now: datetime) -> Login:
    """Verify a login by the member's registered key. Whether challenge and coordinator are one's own is the caller's to check.

    Raises:
        InvalidInputError: No login.
        TrustError: Not signed by this key, about something else, or over.
    """
    statement = verify_statement(envelope, key, predicate_type=LOGIN)
    login = from_json(Login, statement.predicate, what="login")
    about = (statement.subject_name, statement.subject_digest)
    if about != (login.coordinator, digest(login.challenge.encode())):
        raise TrustError("a login does not say what it is for", hint="log in again")
    if not login.issued_at - timedelta(seconds=PROOF_S) <= now < login.expires_at:
        raise TrustError("the login is over", hint="log in again")
    return login


def sign_proof(key: SigningKey, *, method: str, target: str, token: str, now: datetime) -> str:
    """Prove, for one request, that one holds the session key.

    Args:
        key: The session key.
        method: HTTP method.
        target: Path and query.
        token: The access token that goes with it; empty where a token is asked for.
        now: Aware time.

    Source: RFC 9449, section 4.2; the key comes from the token, not from a header.
    """
    claims = {
        "htm": method,
        "htu": target,
        "iat": int(now.timestamp()),
        "jti": secrets.token_urlsafe(16),
        "ath": _hash(token),
    }
    return jwt.encode(dict(_HEADER), claims, private_jwk(key), algorithms=["Ed25519"])


def verify_proof(text: str, key: VerifyKey, *, method: str, target: str, token: str, now: datetime) -> str:
    """Verify a request's proof, and give its id, which the caller must not have seen before.

    Raises:
        TrustError: It is not by this key, for another request or token, or not of now.
    """
    refused = TrustError("the request is not proven by the session's key", hint="log in again")
    try:
        decoded = jwt.decode(text, public_jwk(key), algorithms=["Ed25519"])
    except (JoseError, ValueError, TypeError, RecursionError):
        raise refused from None
    claims: dict[str, Any] = dict(decoded.claims)
    issued, proof_id = claims.get("iat"), claims.get("jti")
    about = (claims.get("htm"), claims.get("htu"), claims.get("ath"))
    if decoded.header != _HEADER or about != (method, target, _hash(token)) or not isinstance(proof_id, str) or not proof_id:
        raise refused
    if type(issued) is not int or abs(now.timestamp() - issued) > PROOF_S:
        raise TrustError("the request's proof is not of now", hint="are the clocks of both machines right?")
    return proof_id


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
