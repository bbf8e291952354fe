"""Taking what people signed, whichever way it comes: told directly, or read in the log.

Verified first, while others may decide; then kept, in the one step that reads and writes. Nobody waits for signatures.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from opaque_jobs.broker.believing import believe_roster
from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.rosters import Circle
from opaque_jobs.broker.store import Transaction
from opaque_jobs.crypto.consent import verify_acceptance
from opaque_jobs.crypto.custody import verify_sharing
from opaque_jobs.crypto.signing import claimed_key_id
from opaque_jobs.domain.custody import Sharing
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "SignedList",
    "check_not_from_the_future",
    "own_first",
    "take_roster",
    "take_sharing",
    "verified_list",
    "verified_sharing",
]

_CLOCK_SKEW: Final = timedelta(minutes=5)


def verified_sharing(broker: Broker, envelope: bytes) -> Sharing:
    """Verify a sharing statement.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: It is by a stranger.
    """
    config = broker.config
    return verify_sharing(envelope, config.member_keys, organisation_id=config.organisation_id)


def take_sharing(memory: Transaction, sharing: Sharing) -> None:
    """Keep a verified sharing statement.

    Raises:
        TrustError: It is older than what is known: it does not name what took the data set back, or was named by a sharing.
    """
    if not memory.vetoes.put_sharing(sharing):
        raise TrustError("a sharing statement is older than the one known", hint="sign it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedList:
    """A member list with acceptances of it that were verified.

    Args:
        roster: The list.
        accepted: Who accepted it, with the envelope of each.
    """

    roster: Roster
    accepted: tuple[tuple[MemberEntry, bytes], ...]


def verified_list(roster: Roster, acceptances: Sequence[bytes]) -> SignedList:
    """Verify acceptances of a member list.

    Raises:
        InvalidInputError: Something is no acceptance, or there are more than members.
        TrustError: One is of another list, by a stranger, or does not hold.
    """
    if len(acceptances) > len(roster.members):
        raise InvalidInputError("a member list comes with more acceptances than members", hint="send each member's once")
    return SignedList(roster=roster, accepted=tuple((verify_acceptance(each, roster), each) for each in acceptances))


def own_first(own: Collection[str], acceptances: Sequence[bytes]) -> list[bytes]:
    """Put what claims to be by an own member's key first, so that nothing of strangers is verified before it holds.

    Raises:
        InvalidInputError: Something is no envelope.
    """
    return sorted(acceptances, key=lambda each: claimed_key_id(each) not in own)


def take_roster(circle: Circle, memory: Transaction, signed: SignedList) -> list[str]:
    """Keep acceptances of a member list; once all in it have accepted it, it is the newest known, if it is to be believed.

    Returns:
        The reasons why it is not; none if it is now the newest known, or was already.
    """
    memory.put_list(signed.roster)
    for member, envelope in signed.accepted:
        memory.put_acceptance(signed.roster, member, envelope)
    return believe_roster(circle, memory, signed.roster)


def check_not_from_the_future(issued_at: str, now: datetime) -> None:
    """Check a statement's date.

    Raises:
        TrustError: It is more than a clock's error ahead.
    """
    if parse_datetime(issued_at) > now + _CLOCK_SKEW:
        raise TrustError("a statement is dated in the future", hint="check the clocks")
