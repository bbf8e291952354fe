"""An owner's veto: their own broker is told to hold something back, or to go on; it takes effect at its next decision."""

from collections.abc import Sequence
from datetime import UTC, datetime

from opaque_jobs.broker.client import BrokerClient
from opaque_jobs.cli.own_organisation import OwnOrganisation
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.crypto.release import sign_hold
from opaque_jobs.domain.release import Hold, HoldScope
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import DeniedError

__all__ = ["hold"]


def hold(
    owner: OwnOrganisation, member: MemberEntry, signer: Signer, *, scope: HoldScope, subjects: Sequence[str], held: bool
) -> tuple[Hold, ...]:
    """Sign a hold on each subject and tell the own broker all at once.

    Args:
        owner: The organisation whose broker it is, as its member knows it.
        member: Who says so; one of its members.
        signer: Their key.
        scope: How much.
        subjects: Ids of data sets or digests of jobs; the organisation's id for everything.
        held: False lets it go on.

    Raises:
        ConfigurationError: The broker does not answer: nothing is held.
        DeniedError: The member is of another organisation.
        TrustError: The broker does not know the member's key, or what answers is not the broker.
    """
    if member.organisation_id != owner.entry.id:
        raise DeniedError("only its own members can hold a broker", hint="ask a member of that organisation")
    now = datetime.now(UTC).isoformat()
    said = tuple(
        Hold(v=1, organisation_id=owner.entry.id, scope=scope, subject=subject, held=held, issued_at=now) for subject in subjects
    )
    with BrokerClient(owner.broker_address) as client:
        client.push(key=owner.broker_key, roster=None, holds=[sign_hold(each, signer) for each in said])
    return said
