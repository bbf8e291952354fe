"""An owner's veto: their own broker is told to hold something back, or to go on; it takes effect at its next decision."""

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.client.memory import TakenBack, own_memory
from opaque_jobs.client.organisation import OwnOrganisation, pinned_organisation
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.crypto.release import sign_hold
from opaque_jobs.domain.release import Hold, HoldScope
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, DeniedError, OpaqueJobsError
from opaque_jobs.settings import Settings

__all__ = ["hold", "signed_hold", "tell_taken_back"]


def hold(owner: OwnOrganisation, member: MemberEntry, signer: Signer, *, scope: HoldScope, subject: str, held: bool) -> bytes:
    """Sign a hold and tell the own broker.

    Args:
        owner: The organisation whose broker it is, as its member knows it.
        member: Who says so; one of its members.
        signer: Their key.
        scope: How much.
        subject: What; the organisation's id for everything. See `Hold`.
        held: False lets it go on.

    Returns:
        The envelope.

    Raises:
        ConfigurationError: The broker does not answer: nothing is held.
        ConflictError: A member list is in force, so that nobody can take it back; or nothing is held that could be lifted.
        DeniedError: The member is of another organisation.
        TrustError: The broker does not know the member's key, or what answers is not the broker.
    """
    lifts: tuple[str, ...] = ()
    if not held:
        with BrokerClient(owner.broker_address) as client:
            lifts = client.standing(key=owner.broker_key, scope=scope, subject=subject)
        if not lifts:
            raise ConflictError("no hold stands on this", hint="'opaque-jobs broker hold' without --lift holds it")
    envelope = signed_hold(owner, member, signer, scope=scope, subject=subject, lifts=lifts)
    _tell(owner, envelope)
    return envelope


def signed_hold(
    owner: OwnOrganisation,
    member: MemberEntry,
    signer: Signer,
    *,
    scope: HoldScope,
    subject: str,
    lifts: tuple[str, ...] = (),
) -> bytes:
    """Sign a hold, or the lift of those that are named; nobody is told. Other arguments as in `hold`.

    Raises:
        DeniedError: The member is of another organisation.
    """
    if member.organisation_id != owner.entry.id:
        raise DeniedError("only its own members can hold a broker", hint="ask a member of that organisation")
    said = Hold(
        v=1,
        organisation_id=owner.entry.id,
        scope=scope,
        subject=subject,
        held=not lifts,
        lifts=lifts,
        nonce=secrets.token_hex(16),
        issued_at=datetime.now(UTC).isoformat(),
    )
    return sign_hold(said, signer)


def tell_taken_back(settings: Settings, member: MemberEntry, lists: Iterable[TakenBack]) -> None:
    """Tell the own broker of member lists that were taken back, each alone, also of those that it was told of before.

    Raises:
        ConfigurationError: It does not answer; as many as it took are told.
        ConflictError: One is in force, and counts as never taken back; the others are told.
        TrustError: It does not believe one; likewise.
    """
    owner = pinned_organisation(settings, member)
    problem: OpaqueJobsError | None = None
    for each in lists:
        try:
            _tell(owner, each.hold.encode())
        except ConflictError as error:
            own_memory(settings, member).forget_taken_back(each.digest)
            problem = error if problem is None else problem.also(error)
        except OpaqueJobsError as error:
            later = f"'opaque-jobs workspace tell-brokers {each.workspace_id}', or 'opaque-jobs broker hold --list {each.digest}'"
            error.with_hint(f"{error.hint}; then {later}")
            problem = error if problem is None else problem.also(error)
    if problem is not None:
        raise problem


def _tell(owner: OwnOrganisation, envelope: bytes) -> None:
    with BrokerClient(owner.broker_address) as client:
        client.push(key=owner.broker_key, roster=None, holds=[envelope])
