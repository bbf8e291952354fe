"""What owners say of a data set's release policy after its key was deposited: they ask for it, and name the columns released.

A policy belongs to the data set, all versions of it. Every member of the owner can ask the owner's broker for it; the metadata
database knows nothing of row rules, and of columns the names that the owner publishes, so that authors ask for no others.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey, Signer, VerifyKey
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.crypto.signing import Statement, claimed_key_id, sign_statement, verify_statement
from opaque_jobs.domain.canonical import digest, parse_json
from opaque_jobs.domain.dataset import SaltedPolicy
from opaque_jobs.domain.document import from_bytes, from_json, to_bytes, to_json
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "PolicyQuestion",
    "ReleasedColumns",
    "answer_question",
    "claimed_released",
    "open_answer",
    "sign_question",
    "sign_released",
    "verify_question",
    "verify_released",
]

_QUESTION: Final = "urn:opaque-jobs:policy-question:v1"
_ANSWER: Final = "urn:opaque-jobs:policy-answer:v1"
_RELEASED: Final = "urn:opaque-jobs:released-columns:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a member of the owner says about one data set.

    Args:
        v: Format version, 1.
        dataset_id: The data set.
        organisation_id: Its owner.
        issued_at: UTC, RFC 3339; the latest counts.
    """

    v: int
    dataset_id: str
    organisation_id: str
    issued_at: str

    def __post_init__(self) -> None:
        if self.v != 1:
            raise InvalidInputError("a statement about a data set is of another version", hint="use the same program")
        parse_datetime(self.issued_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyQuestion(_Said):
    """Ask the broker for the policy in force.

    Args:
        answer_to: Fresh public sealing key of the asker: nobody else reads the answer, and no earlier one fits.
    """

    answer_to: str

    @property
    def seal_info(self) -> dict[str, Any]:
        """Context that the answer is sealed for."""
        return {"what": "policy-answer", **to_json(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedColumns(_Said):
    """Names of the columns that jobs may read; row rules stay secret.

    Args:
        columns: In the data's order.
    """

    columns: tuple[str, ...]


def _signed(said: _Said, kind: str, signer: Signer) -> bytes:
    predicate = to_json(said)
    return sign_statement(
        signer, predicate_type=kind, subject_name=said.dataset_id, subject_digest=digest(to_bytes(said)), predicate=predicate
    )


def _verified(envelope: bytes, keys: Mapping[str, VerifyKey], kind: str, organisation_id: str) -> Statement:
    key = keys.get(claimed_key_id(envelope))
    if key is None:
        raise TrustError("a statement about a data set is signed by nobody known here", hint="pin the member's key first")
    statement = verify_statement(envelope, key, predicate_type=kind)
    predicate = statement.predicate
    if not isinstance(predicate, dict) or predicate.get("organisation_id") != organisation_id:
        raise TrustError("a statement about a data set is for another organisation", hint="ask a member of its owner")
    return statement


def sign_question(question: PolicyQuestion, signer: Signer) -> bytes:
    """Sign a question for the policy in force."""
    return _signed(question, _QUESTION, signer)


def verify_question(envelope: bytes, keys: Mapping[str, VerifyKey], *, organisation_id: str) -> PolicyQuestion:
    """Verify a question.

    Args:
        envelope: Untrusted.
        keys: Key id -> pinned key of members of the owner.
        organisation_id: The owner.

    Raises:
        InvalidInputError: Not such a statement.
        TrustError: By a stranger, for another organisation, or it does not hold.
    """
    statement = _verified(envelope, keys, _QUESTION, organisation_id)
    return from_json(PolicyQuestion, statement.predicate, what="policy question")


def answer_question(question: PolicyQuestion, policy: SaltedPolicy, signer: Signer) -> bytes:
    """Answer a verified question, as the broker: sealed to the asker, and signed."""
    sealed = seal(to_bytes(policy), SealingPublicKey.parse(question.answer_to), question.seal_info)
    return sign_statement(
        signer,
        predicate_type=_ANSWER,
        subject_name=question.dataset_id,
        subject_digest=digest(to_bytes(question)),
        predicate={"sealed": sealed.decode()},
    )


def open_answer(envelope: bytes, question: PolicyQuestion, key: SealingKey, *, broker: VerifyKey) -> SaltedPolicy:
    """Open the broker's answer to exactly this question.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: By somebody else, or to another question.
    """
    statement = verify_statement(envelope, broker, predicate_type=_ANSWER)
    if statement.subject_digest != digest(to_bytes(question)) or not isinstance(statement.predicate, dict):
        raise TrustError("a broker's answer is to another question", hint="ask again")
    sealed = str(statement.predicate.get("sealed"))
    return from_bytes(SaltedPolicy, open_sealed(sealed.encode(), key, question.seal_info), what="release policy")


def sign_released(columns: tuple[str, ...], signer: Signer, *, dataset_id: str, organisation_id: str, now: datetime) -> bytes:
    """Sign which columns jobs may read."""
    said = ReleasedColumns(
        v=1, dataset_id=dataset_id, organisation_id=organisation_id, issued_at=now.isoformat(), columns=columns
    )
    return _signed(said, _RELEASED, signer)


def _claimed_predicate(envelope: bytes) -> object:
    outer = parse_json(envelope, what="released columns")
    try:
        return parse_json(base64.b64decode(outer["payload"]), what="released columns")["predicate"]
    except (LookupError, TypeError, ValueError):
        raise InvalidInputError("an owner's statement is not in its form", hint="was the database changed? restore it") from None


def claimed_released(envelope: bytes) -> frozenset[str]:
    """Return the columns that an envelope claims to be released.

    Trust: nothing is verified.

    Raises:
        InvalidInputError: Not such a statement.
    """
    said = from_json(ReleasedColumns, _claimed_predicate(envelope), what="released columns")
    return frozenset(said.columns)


def verify_released(envelope: bytes, keys: Mapping[str, VerifyKey], *, organisation_id: str) -> ReleasedColumns:
    """Verify what an owner publishes. Arguments and errors as `verify_question`.

    Trust: an older statement passes too. It lets nobody read more: the owner's broker decides by its own memory.
    """
    statement = _verified(envelope, keys, _RELEASED, organisation_id)
    return from_json(ReleasedColumns, statement.predicate, what="released columns")
