"""What a broker tells its own organisation's members, who ask by their signature."""

from datetime import timedelta
from typing import Final

from opaque_jobs.broker.policies import policy_in_force
from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.taking import check_not_from_the_future
from opaque_jobs.crypto.policies import answer_question, verify_question
from opaque_jobs.domain.canonical import parse_json, require_fields
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.errors import NotFoundError, TrustError

__all__ = ["answer_policy"]

_QUESTION_LIFETIME: Final = timedelta(minutes=5)


def answer_policy(broker: Broker, body: bytes) -> bytes:
    """Answer a member of the owner who asks for a policy in force; nobody else can read the answer.

    Raises:
        InvalidInputError: The question does not parse.
        NotFoundError: No version of the data set was deposited.
        TrustError: It is by a stranger, for another organisation, or not of now.
    """
    config, now = broker.config, broker.clock()
    fields = require_fields(parse_json(body, what="policy question"), ("question",), what="policy question")
    asked = verify_question(str(fields["question"]).encode(), config.member_keys, organisation_id=config.organisation_id)
    check_not_from_the_future(asked.issued_at, now)
    if parse_datetime(asked.issued_at) < now - _QUESTION_LIFETIME:
        raise TrustError("a question is too old", hint="ask again, and check the clocks")
    with broker.store.transaction() as memory:
        policy = policy_in_force(memory, asked.dataset_id, broker.keys.sealing)
    if policy is None:
        raise NotFoundError("no version of this data set was deposited here", hint="encrypt it first")
    return answer_question(asked, policy, broker.keys.signing)
