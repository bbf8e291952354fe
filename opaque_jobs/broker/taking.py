"""Taking what people signed, whichever way it comes: told directly, or read in the log."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from opaque_jobs.broker.believing import believe_roster
from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.store import Transaction
from opaque_jobs.crypto.consent import verify_acceptance
from opaque_jobs.crypto.custody import verify_sharing
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import TrustError

__all__ = ["check_not_from_the_future", "take_roster", "take_sharing"]

_CLOCK_SKEW: Final = timedelta(minutes=5)


def take_sharing(broker: Broker, memory: Transaction, envelope: bytes) -> None:
    """Verify a sharing statement and keep it.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: It is by a stranger, dated in the future, or older than the one known.
    """
    config = broker.config
    sharing = verify_sharing(envelope, config.member_keys, organisation_id=config.organisation_id)
    # The latest counts, so one from the future could never be taken back.
    check_not_from_the_future(sharing.issued_at, broker.clock())
    if not memory.put_sharing(sharing):
        raise TrustError("a sharing statement is older than the one known", hint="sign it again")


def take_roster(broker: Broker, memory: Transaction, roster: Roster, acceptances: Iterable[bytes]) -> list[str]:
    """Keep acceptances of a member list; once all in it have accepted it, it is the newest known, if it is to be believed.

    Returns:
        The reasons why it is not; none if it is now the newest known, or was already.

    Raises:
        InvalidInputError: Something is no acceptance.
        TrustError: One is of another list, by a stranger, or does not hold.
    """
    memory.put_list(roster)
    for envelope in acceptances:
        memory.put_acceptance(roster, verify_acceptance(envelope, roster), envelope)
    return believe_roster(broker.circle, memory, roster)


def check_not_from_the_future(issued_at: str, now: datetime) -> None:
    """Check a statement's date.

    Raises:
        TrustError: It is more than a clock's error ahead.
    """
    if parse_datetime(issued_at) > now + _CLOCK_SKEW:
        raise TrustError("a statement is dated in the future", hint="check the clocks")
