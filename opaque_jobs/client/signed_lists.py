"""The member list as a member signed it: what they know beforehand of a workspace, whatever the services show.

Trust: a list counts for a member when all that it names signed it, and the key by which it names this member is one of the key
files here. Of the own organisation the member knows more than any list says: what is pinned beside their key.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from opaque_jobs.client.keys import own_key_ids
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.organisation import pinned_organisation
from opaque_jobs.client.session import Session, listed
from opaque_jobs.crypto.consent import roster_refusals
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.receipt_trust import ReceiptTrust
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import BrokerPush, BrokerTarget, ReceiptContext
from opaque_jobs.settings import Settings
from opaque_jobs.verify.own_trust import believed_keys

__all__ = [
    "anchors_in",
    "check_not_taken_back",
    "known_beforehand",
    "learn_lists",
    "list_for_brokers",
    "overridden_list",
    "signed_list",
]

_SignedList = tuple[bytes, tuple[bytes, ...]]
"""A list's canonical bytes, and the acceptances of all in it."""


def signed_list(settings: Settings, member: MemberEntry, data: bytes, acceptances: Iterable[bytes]) -> Roster:
    """Give a member list after verifying that this member, with a key of this home, and all others signed it; it is kept.

    Raises:
        InvalidInputError: No member list.
        NotFoundError: The member's key file is not here.
        TrustError: Somebody did not sign it, or it names the member by a key that is not theirs.
    """
    keys, roster, signed = own_key_ids(settings, member), parse_roster(data), tuple(acceptances)
    mine = [each.key_id for each in roster.members if each.id == member.id]
    if roster_refusals(roster, signed) or not keys.intersection(mine):
        raise TrustError(
            "the member list is not one that you and all its members signed",
            hint="rely on nothing that it says: was the database changed? compare with 'opaque-jobs workspace show'",
        )
    check_not_taken_back(settings, member, roster.digest)
    own_memory(settings, member).keep_list(roster, signed)
    return roster


def check_not_taken_back(settings: Settings, member: MemberEntry, roster_digest: str) -> None:
    """Check that a member list is not one that this member took back.

    Raises:
        TrustError: It is.
    """
    if roster_digest in {each.digest for each in own_memory(settings, member).lists_taken_back()}:
        raise TrustError(
            "this member list you took back, and the others signed it all the same",
            hint="rely on nothing that it says; propose another with 'opaque-jobs workspace change'",
        )


def list_for_brokers(session: Session, member: MemberEntry, workspace_id: str) -> BrokerPush:
    """Give the member list in force, for brokers: as shown, or as kept here where none, another or an older is shown.

    The lists before it are given as far as they are shown or kept, each by the digest that the one after it names.

    A list that this member did not sign is given where none is kept: the own broker, which knows them, decides about it.

    Raises:
        ConflictError: The workspace is pending.
        NotFoundError: None is shown that names the member, and none is kept.
        TrustError: What is shown is another workspace's, or one that this member took back, and none is kept.
    """
    settings = session.settings
    kept = own_memory(settings, member).agreed_list(workspace_id)
    try:
        shown = session.workspaces.broker_push(workspace_id)
        _check_asked_for(parse_roster(shown.roster), workspace_id)
        if kept is None:
            check_not_taken_back(settings, member, digest(shown.roster))
            with contextlib.suppress(OpaqueJobsError):
                signed_list(settings, member, shown.roster, shown.acceptances)
            return replace(shown, earlier=_before(settings, member, shown.roster, shown.earlier))
        if signed_list(settings, member, shown.roster, shown.acceptances).epoch >= kept.roster.epoch:
            return replace(shown, earlier=_before(settings, member, shown.roster, shown.earlier))
    except OpaqueJobsError:
        if kept is None:
            raise
    return BrokerPush(
        targets=_targets(session, kept.roster),
        roster=kept.text.encode(),
        acceptances=tuple(each.encode() for each in kept.acceptances),
        earlier=_before(settings, member, kept.text.encode(), ()),
        withdrawals=(),
    )


def overridden_list(session: Session, member: MemberEntry, workspace_id: str) -> BrokerPush | None:
    """Give the list in force that this member took back and all signed all the same: brokers of others may believe it.

    For what the member takes back beside it, and for nothing else; None where there is none.
    """
    try:
        shown = session.workspaces.broker_push(workspace_id)
        roster = parse_roster(shown.roster)
    except OpaqueJobsError:
        return None
    over = {each.digest for each in own_memory(session.settings, member).lists_taken_back()}
    return shown if roster.digest in over and not roster_refusals(roster, shown.acceptances) else None


def learn_lists(session: Session, member: MemberEntry, *workspace_ids: str) -> None:
    """Keep the lists that came into force since, as far as the database shows them and all signed them."""
    for each in workspace_ids:
        with contextlib.suppress(OpaqueJobsError):
            list_for_brokers(session, member, each)


def anchors_in(settings: Settings, member: MemberEntry, roster: Roster) -> ReceiptTrust:
    """Give what a member who signed this list knows beforehand of its receipts; of the own broker, what is pinned.

    Raises:
        NotFoundError: The member was told nothing of their own organisation yet.
        TrustError: The services say that the member is of another organisation than the pinned one.
    """
    own = pinned_organisation(settings, member).entry
    listed = {each.id: each.broker_signing_key for each in roster.organisations}
    return ReceiptTrust(
        v=1,
        workspace_genesis=roster.genesis_digest,
        log_key=roster.log_key,
        brokers=listed | {own.id: own.broker_signing_key},
        simulated_keys=tuple(key.text for key in believed_keys(settings)),
    )


def known_beforehand(session: Session, member: MemberEntry, context: ReceiptContext) -> ReceiptTrust:
    """Give what a member knows beforehand of one run: by the list of its epoch if they signed that, else by the present one.

    Raises:
        NotFoundError: The member's key file is not here, or they were told nothing of their own organisation yet.
        TrustError: The member signed neither list.
    """
    settings = session.settings
    with contextlib.suppress(InvalidInputError, TrustError):
        then = parse_bundle(context.bundle_bytes)
        signed = [each.encode() for each in then.acceptances]
        return anchors_in(settings, member, signed_list(settings, member, then.roster.encode(), signed))
    job_id = session.runs.show(context.run_id).job_id
    now = session.workspaces.broker_push(session.jobs.show(job_id).workspace_id)
    return anchors_in(settings, member, signed_list(settings, member, now.roster, now.acceptances))


def _before(settings: Settings, member: MemberEntry, last: bytes, shown: Iterable[_SignedList]) -> tuple[_SignedList, ...]:
    """Give the lists before one, by epoch: what is kept, and what is shown, back to the first that is not here."""
    kept = (
        (each.text.encode(), tuple(one.encode() for one in each.acceptances))
        for each in own_memory(settings, member).agreed_lists()
    )
    here = {digest(text): (text, signed) for text, signed in (*shown, *kept)}
    found: list[_SignedList] = []
    at = parse_roster(last).previous
    while at in here:
        found.append(here.pop(at))
        at = parse_roster(found[-1][0]).previous
    return tuple(reversed(found))


def _check_asked_for(roster: Roster, workspace_id: str) -> None:
    if roster.workspace_id != workspace_id:
        raise TrustError("another workspace's member list is shown for this one", hint="was the database changed?")


def _targets(session: Session, roster: Roster) -> tuple[BrokerTarget, ...]:
    """Give where brokers answer; nowhere where the database does not say: the own one is reached all the same."""
    try:
        known = tuple(listed(session.people.organisations, organisation_id=tuple(each.id for each in roster.organisations)))
    except OpaqueJobsError:
        return ()
    return tuple(BrokerTarget(organisation_id=each.entry.id, address=each.broker_address) for each in known)
