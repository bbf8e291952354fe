"""Member lists as a member signs them: what a waiting one changes is verified against those signed before."""

from collections.abc import Callable
from datetime import UTC, datetime

from opaque_jobs.client.holds import signed_hold, tell_taken_back
from opaque_jobs.client.keys import own_key_ids
from opaque_jobs.client.memory import TakenBack, own_memory
from opaque_jobs.client.organisation import OwnOrganisation, check_own_entry, compared_organisation, pinned_organisation
from opaque_jobs.client.session import Session
from opaque_jobs.client.signed_lists import learn_lists, list_for_brokers
from opaque_jobs.client.telling import push
from opaque_jobs.crypto.consent import roster_refusals, sign_acceptance
from opaque_jobs.crypto.key_changes import explained_changes
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.key_change import NamedChange
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConfigurationError, ConflictError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import WorkspaceView

__all__ = ["accept_roster", "changed_keys", "in_force", "take_back_roster", "waiting"]


def in_force(session: Session, member: MemberEntry, workspace_id: str) -> MemberEntry:
    """Give a member with the key by which a workspace knows them now; theirs as registered while it is pending.

    A list that the database hides is the one that this member's client kept.

    Raises:
        NotFoundError: No such workspace, or they are not in it.
        TrustError: Another workspace's list is shown, and none is kept.
    """
    try:
        roster = parse_roster(list_for_brokers(session, member, workspace_id).roster)
    except ConflictError:
        return member
    return roster.member(member.id)


def waiting(view: WorkspaceView) -> Roster:
    """Give the member list that waits for signatures.

    Raises:
        ConflictError: None does.
    """
    if view.proposal is None:
        raise ConflictError("no member list waits for signatures", hint="see 'opaque-jobs workspace show'")
    return view.proposal.roster


def changed_keys(session: Session, view: WorkspaceView, member: MemberEntry) -> tuple[NamedChange, ...]:
    """Give the keys that the waiting member list changes, after verifying that each may be.

    A member who never signed a list of the workspace has nothing to compare with.

    Raises:
        TrustError: A key changes on nobody's word who may say so, or the list does not follow the one that the member signed.
    """
    if view.proposal is None:
        return ()
    proposed = view.proposal.roster
    # 1. What the list says that it follows is there, and all in it signed it: hidden, it would make newcomers of everybody.
    before = _followed(session, proposed)
    signed = own_memory(session.settings, member).last_signed(proposed.workspace_id)
    words = session.keys.signed_changes(owner_id=tuple(sorted({*_owners(before), *_owners(signed)})))
    named: list[NamedChange] = []
    # 2. Each key that differs from those in it is the next one on the word of who may say so.
    if before is not None and member.id in {each.id for each in before.members}:
        named.extend(explained_changes(before, proposed, words))
    # 3. And from those in the list that this client signed last, whatever the database knows of it.
    if signed is not None:
        _check_later(signed, proposed)
        agreed = own_memory(session.settings, member).agreed_list(proposed.workspace_id)
        if agreed is not None and agreed.roster.epoch >= proposed.epoch:
            raise _not_following()
        named.extend(explained_changes(signed, proposed, words))
    return tuple(dict.fromkeys(named))


def _owners(roster: Roster | None) -> set[str]:
    return set() if roster is None else {*(each.id for each in roster.members), *(each.id for each in roster.organisations)}


def _followed(session: Session, proposed: Roster) -> Roster | None:
    """Give the list before, as all in it signed it; None for a first one."""
    if proposed.previous is None:
        return None
    followed = session.workspaces.followed_list(proposed.workspace_id)
    if (
        followed is None
        or digest(followed.roster) != proposed.previous
        or roster_refusals(before := parse_roster(followed.roster), followed.acceptances)
    ):
        raise TrustError(
            "the member list that the waiting one follows is not here as all its members signed it",
            hint="do not accept it: was the database changed? ask the other members on another way",
        )
    expected = (before.workspace_id, before.genesis_digest, before.epoch + 1)
    if (proposed.workspace_id, proposed.genesis_digest, proposed.epoch) != expected:
        raise _not_following()
    _check_same(before, proposed)
    return before


def _take_the_place(  # noqa: PLR0917
    session: Session,
    own: OwnOrganisation,
    member: MemberEntry,
    signer: Signer,
    roster: Roster,
    on_note: Callable[[str], None],
) -> None:
    """Take back another list that this member signed for the same epoch.

    A broker that is away, or does not know a new key yet, is told later: `tell_withdrawals` does it.

    Raises:
        TrustError: The own broker knows the other one to be in force.
    """
    before = own_memory(session.settings, member).last_signed(roster.workspace_id)
    if before is None or before.epoch != roster.epoch or before.digest == roster.digest:
        return
    said = _never_believe(session, own, member, signer, before)
    try:
        tell_taken_back(session.settings, member, [said])
    except ConflictError:
        raise _not_following() from None
    except (ConfigurationError, TrustError) as error:
        on_note(
            f"your broker does not know yet that you took back the list that this one replaces ({error.message}): {error.hint}"
        )


def take_back_roster(
    session: Session, workspace_id: str, member: MemberEntry, signer: Callable[[], Signer]
) -> tuple[WorkspaceView, str | None]:
    """Take back the list that waits. If this member signed it, their own broker is told never to believe it, whoever signs it.

    Args:
        session: The member's.
        workspace_id: The workspace.
        member: Who takes it back.
        signer: Gives their key; asked for only if they signed.

    Returns:
        The workspace, and the digest of the list that the own broker was told of; None if nothing was signed.

    Raises:
        ConfigurationError: The own broker does not answer; the rest is done, and `tell_withdrawals` tells it.
        ConflictError: No list waits, or the own broker knows it to be in force.
        DeniedError: The member neither proposed it nor is in it; the broker was told all the same.
        TrustError: The own broker does not know the member's key; as if it did not answer.
    """
    settings = session.settings
    learn_lists(session, member, workspace_id)
    signed = own_memory(settings, member).last_signed(workspace_id)
    if signed is not None and signed.digest in {each.roster.digest for each in own_memory(settings, member).agreed_lists()}:
        signed = None
    problem: OpaqueJobsError | None = None
    if signed is not None:
        try:
            said = _never_believe(session, pinned_organisation(settings, member), member, signer(), signed)
            tell_taken_back(settings, member, [said])
        except OpaqueJobsError as error:
            problem = error
    try:
        view = session.workspaces.cancel(workspace_id)
    except OpaqueJobsError as error:
        problem = error if problem is None else problem.also(error)
    if problem is not None:
        raise problem
    return view, None if signed is None else signed.digest


def _never_believe(session: Session, own: OwnOrganisation, member: MemberEntry, signer: Signer, roster: Roster) -> TakenBack:
    """Sign that a list is never to be believed, and keep that; `tell_taken_back` tells it."""
    said = signed_hold(own, member, signer, scope=HoldScope.ROSTER, subject=roster.digest)
    return own_memory(session.settings, member).remember_taken_back(roster, said)


def _check_later(signed: Roster, proposed: Roster) -> None:
    """Check that a list can come after one that was signed, or in place of it while it waits; between may be others."""
    instead = proposed.epoch == signed.epoch and (proposed.previous, proposed.genesis) == (signed.previous, signed.genesis)
    after = proposed.epoch > signed.epoch and proposed.genesis_digest == signed.genesis_digest
    if not (instead or after):
        raise _not_following()
    _check_same(signed, proposed)


def _check_same(before: Roster, proposed: Roster) -> None:
    if proposed.log_key != before.log_key:
        raise TrustError("the waiting member list names another log than the one before", hint="do not accept it")
    if proposed.name != before.name:
        raise TrustError("the waiting member list calls the workspace otherwise than the one before", hint="do not accept it")


def _not_following() -> TrustError:
    return TrustError("the waiting member list does not follow one that you signed", hint="do not accept it")


def accept_roster(
    session: Session,
    workspace_id: str,
    member: MemberEntry,
    signer: Signer,
    *,
    expected_digest: str,
    on_note: Callable[[str], None] = lambda _text: None,
) -> WorkspaceView:
    """Sign the roster that waits; when it comes into force the brokers are told.

    Another one that this member signed before for the same epoch is taken back at the own broker: this one takes its place.

    Args:
        session: The member's.
        workspace_id: The workspace.
        member: Who accepts.
        signer: Their key.
        expected_digest: Of the list that the member has seen, or typed: nothing else is signed.
        on_note: Told what is left to do.

    Raises:
        ConfigurationError: A broker that must be told cannot be reached.
        ConflictError: No roster waits for this member, or it is not the one that they have seen.
        NotFoundError: The member does not know their organisation's keys.
        TrustError: It changes a key on nobody's word who may say so, or names other keys of the own organisation.
    """
    view = session.workspaces.show(workspace_id)
    roster = waiting(view)
    if view.proposal is not None and member.id not in view.proposal.waiting_for:
        raise ConflictError("you have accepted this member list already", hint="wait for the other members")
    if expected_digest != roster.digest:
        raise ConflictError("the member list that waits is not the one that you looked at", hint="look at it again, then accept")
    if roster.digest in {each.digest for each in own_memory(session.settings, member).lists_taken_back()}:
        raise ConflictError("you took this member list back", hint="propose it anew with 'opaque-jobs workspace change'")
    learn_lists(session, member, workspace_id)
    changed_keys(session, view, member)
    own = compared_organisation(session, member)
    check_own_entry(own, roster.organisation(own.entry.id))
    _take_the_place(session, own, member, signer, roster, on_note)
    envelope = sign_acceptance(roster, roster.member(member.id), signer, now=datetime.now(UTC))
    own_memory(session.settings, member).remember_list(roster)
    view = session.workspaces.accept(workspace_id=view.id, envelope=envelope)
    if view.proposal is None:
        push(list_for_brokers(session, member, view.id), own, keys=own_key_ids(session.settings, member))
    return view
