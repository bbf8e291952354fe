"""A broker's word that it has kept what it was sent: signed, about exactly this request; nobody else can say it for it."""

from typing import Final

from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.crypto.signing import sign_statement, verify_statement
from opaque_jobs.domain.canonical import digest
from opaque_jobs.errors import TrustError

__all__ = ["ACKNOWLEDGEMENT", "sign_acknowledgement", "verify_acknowledgement"]

ACKNOWLEDGEMENT: Final = "urn:opaque-jobs:acknowledgement:v1"


def sign_acknowledgement(signer: Signer, *, path: str, nonce: str, body: bytes) -> bytes:
    """Sign that a request was kept, as the broker.

    Args:
        signer: The broker's signing key.
        path: Of the request.
        nonce: The asker's own, so that an earlier answer does not count again.
        body: Of the request.
    """
    return sign_statement(
        signer, predicate_type=ACKNOWLEDGEMENT, subject_name=path, subject_digest=digest(body), predicate={"nonce": nonce}
    )


def verify_acknowledgement(envelope: bytes, key: VerifyKey, *, path: str, nonce: str, body: bytes) -> None:
    """Verify that a broker has kept a request. Arguments as before; the key is from trusted context.

    Raises:
        InvalidInputError: Not an envelope.
        TrustError: By somebody else, about another request, or it does not hold.
    """
    statement = verify_statement(envelope, key, predicate_type=ACKNOWLEDGEMENT)
    if (statement.subject_name, statement.subject_digest, statement.predicate) != (path, digest(body), {"nonce": nonce}):
        raise TrustError("a broker's answer is about another request", hint="ask again")
