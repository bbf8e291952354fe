"""An owner's veto: their own broker is told to hold something back, or to go on; it takes effect at its next decision."""

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
    owner: OwnOrganisation, member: MemberEntry, signer: Signer, *, scope: HoldScope, subject: str | None, held: bool
) -> Hold:
    """Sign a hold and tell the own broker.

    Args:
        owner: The organisation whose broker it is, as its member knows it.
        member: Who says so; one of its members.
        signer: Their key.
        scope: How much.
        subject: Id of the data set or digest of the job; None for everything.
        held: False lets it go on.

    Raises:
        ConfigurationError: The broker does not answer: nothing is held.
        DeniedError: The member is of another organisation.
        TrustError: The broker does not know the member's key, or what answers is not the broker.
    """
    if member.organisation_id != owner.entry.id:
        raise DeniedError("only its own members can hold a broker", hint="ask a member of that organisation")
    said = Hold(
        v=1,
        organisation_id=owner.entry.id,
        scope=scope,
        subject=owner.entry.id if subject is None else subject,
        held=held,
        issued_at=datetime.now(UTC).isoformat(),
    )
    with BrokerClient(owner.broker_address) as client:
        client.push(key=owner.broker_key, roster=None, holds=[sign_hold(said, signer)])
    return said
