"""Signing and verifying what brokers release and destroy, and what owners hold back."""

from collections.abc import Mapping
from typing import Final

from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.crypto.signing import claimed_key_id, sign_statement, verify_statement
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.release import Erasure, Hold, Release, parse_erasure, parse_hold, parse_release
from opaque_jobs.errors import TrustError

__all__ = [
    "ERASURE",
    "HOLD",
    "RELEASE",
    "sign_erasure",
    "sign_hold",
    "sign_release",
    "verify_erasure",
    "verify_hold",
    "verify_release",
]

RELEASE: Final = "urn:opaque-jobs:release:v1"
HOLD: Final = "urn:opaque-jobs:hold:v1"
ERASURE: Final = "urn:opaque-jobs:erasure:v1"


def sign_release(release: Release, signer: Signer, *, job_digest: str) -> bytes:
    """Sign a release as the broker."""
    return sign_statement(
        signer, predicate_type=RELEASE, subject_name=release.run_id, subject_digest=job_digest, predicate=to_json(release)
    )


def verify_release(envelope: bytes, key: VerifyKey, *, organisation_id: str) -> tuple[str, Release]:
    """Verify a release against a broker's known key; gives the job digest and what was released.

    Raises:
        InvalidInputError: Not a release.
        TrustError: Signed with another key, for another organisation, or it does not hold.
    """
    statement = verify_statement(envelope, key, predicate_type=RELEASE)
    release = parse_release(statement.predicate)
    if (release.organisation_id, release.run_id) != (organisation_id, statement.subject_name):
        raise TrustError("a release is another organisation's", hint="its broker must sign it")
    return statement.subject_digest, release


def sign_erasure(erasure: Erasure, signer: Signer) -> bytes:
    """Sign, as the broker, that a data set's keys are destroyed."""
    return sign_statement(
        signer,
        predicate_type=ERASURE,
        subject_name=erasure.dataset_id,
        subject_digest=digest(erasure.dataset_id.encode()),
        predicate=to_json(erasure),
    )


def verify_erasure(envelope: bytes, key: VerifyKey, *, organisation_id: str) -> Erasure:
    """Verify an erasure against a broker's known key.

    Raises:
        InvalidInputError: Not an erasure.
        TrustError: Signed with another key, for another organisation, or it does not hold.
    """
    statement = verify_statement(envelope, key, predicate_type=ERASURE)
    erasure = parse_erasure(statement.predicate)
    about = (organisation_id, statement.subject_name, statement.subject_digest)
    if (erasure.organisation_id, erasure.dataset_id, digest(erasure.dataset_id.encode())) != about:
        raise TrustError("an erasure is another organisation's", hint="its broker must sign it")
    return erasure


def sign_hold(hold: Hold, signer: Signer) -> bytes:
    """Sign a hold as a member of the owning organisation."""
    return sign_statement(
        signer,
        predicate_type=HOLD,
        subject_name=hold.subject,
        subject_digest=digest(hold.subject.encode()),
        predicate=to_json(hold),
    )


def verify_hold(envelope: bytes, keys: Mapping[str, VerifyKey], *, organisation_id: str) -> Hold:
    """Verify a hold.

    Args:
        envelope: Untrusted.
        keys: Key id -> pinned key of members of the owner.
        organisation_id: The owner whose broker asks.

    Raises:
        InvalidInputError: Not a hold.
        TrustError: By a stranger, for another organisation, or it does not hold.
    """
    key = keys.get(claimed_key_id(envelope))
    if key is None:
        raise TrustError("a hold is signed by nobody that this broker knows", hint="pin the member's key first")
    statement = verify_statement(envelope, key, predicate_type=HOLD)
    hold = parse_hold(statement.predicate)
    if hold.organisation_id != organisation_id or statement.subject_digest != digest(hold.subject.encode()):
        raise TrustError("a hold is for another organisation", hint="only its own members can hold a broker")
    return hold
