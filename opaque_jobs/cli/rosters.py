"""Member lists as a member signs them: what a waiting one changes is verified against those signed before."""

from datetime import UTC, datetime

from opaque_jobs.cli.brokers import push
from opaque_jobs.cli.own_lists import last_signed, remember_list
from opaque_jobs.cli.own_organisation import check_own_entry, compared_organisation
from opaque_jobs.cli.session import own_key_ids
from opaque_jobs.cli.signed_list import list_for_brokers
from opaque_jobs.crypto.consent import roster_refusals, sign_acceptance
from opaque_jobs.crypto.key_changes import explained_changes
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.key_change import NamedChange
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConflictError, TrustError
from opaque_jobs.services import Services
from opaque_jobs.services.views import WorkspaceView

__all__ = ["accept_roster", "changed_keys", "in_force", "waiting"]


def in_force(opened: Services, member: MemberEntry, workspace_id: str) -> MemberEntry:
    """Give a member with the key by which a workspace knows them now; theirs as registered while it is pending.

    A list that the database hides is the one that this member's client kept.

    Raises:
        NotFoundError: No such workspace, or they are not in it.
        TrustError: Another workspace's list is shown, and none is kept.
    """
    try:
        roster = parse_roster(list_for_brokers(opened, member, workspace_id).roster)
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


def changed_keys(opened: Services, view: WorkspaceView, member: MemberEntry) -> tuple[NamedChange, ...]:
    """Give the keys that the waiting member list changes, after verifying that each may be.

    A member who never signed a list of the workspace has nothing to compare with.

    Raises:
        TrustError: A key changes on nobody's word who may say so, or the list does not follow the one that the member signed.
    """
    if view.proposal is None:
        return ()
    proposed = view.proposal.roster
    # 1. What the list says that it follows is there, and all in it signed it: hidden, it would make newcomers of everybody.
    before = _followed(opened, proposed, member)
    signed = last_signed(opened.context.settings, member, proposed.workspace_id)
    words = opened.keys.signed_changes(sorted({*_owners(before), *_owners(signed)}))
    named: list[NamedChange] = []
    # 2. Each key that differs from those in it is the next one on the word of who may say so.
    if before is not None and member.id in {each.id for each in before.members}:
        named.extend(explained_changes(before, proposed, words))
    # 3. And from those in the list that this client signed last, whatever the database knows of it.
    if signed is not None:
        _check_later(signed, proposed)
        named.extend(explained_changes(signed, proposed, words))
    return tuple(dict.fromkeys(named))


def _owners(roster: Roster | None) -> set[str]:
    return set() if roster is None else {*(each.id for each in roster.members), *(each.id for each in roster.organisations)}


def _followed(opened: Services, proposed: Roster, member: MemberEntry) -> Roster | None:
    """Give the list before, as all in it signed it; None for a first one."""
    if proposed.previous is None:
        return None
    body, acceptances = opened.workspaces.followed_list(proposed.workspace_id, actor=member.id) or (b"", ())
    if digest(body) != proposed.previous or roster_refusals(before := parse_roster(body), acceptances):
        raise TrustError(
            "the member list that the waiting one follows is not here as all its members signed it",
            hint="do not accept it: was the database changed? ask the other members on another way",
        )
    expected = (before.workspace_id, before.genesis_digest, before.epoch + 1)
    if (proposed.workspace_id, proposed.genesis_digest, proposed.epoch) != expected:
        raise _not_following()
    _check_log(before, proposed)
    return before


def _check_later(signed: Roster, proposed: Roster) -> None:
    """Check that a list can come after one that was signed, or in place of it while it waits; between may be others."""
    instead = proposed.epoch == signed.epoch and (proposed.previous, proposed.genesis) == (signed.previous, signed.genesis)
    after = proposed.epoch > signed.epoch and proposed.genesis_digest == signed.genesis_digest
    if not (instead or after):
        raise _not_following()
    _check_log(signed, proposed)


def _check_log(before: Roster, proposed: Roster) -> None:
    if proposed.log_key != before.log_key:
        raise TrustError("the waiting member list names another log than the one before", hint="do not accept it")


def _not_following() -> TrustError:
    return TrustError("the waiting member list does not follow one that you signed", hint="do not accept it")


def accept_roster(opened: Services, workspace_id: str, member: MemberEntry, signer: Signer) -> WorkspaceView:
    """Sign the roster that waits; when it comes into force the brokers are told.

    Raises:
        ConflictError: No roster waits for this member.
        NotFoundError: The member does not know their organisation's keys.
        TrustError: It changes a key on nobody's word who may say so, or names other keys of the own organisation.
    """
    view = opened.workspaces.show(workspace_id, actor=member.id)
    roster = waiting(view)
    if view.proposal is not None and member.id not in view.proposal.waiting_for:
        raise ConflictError("you have accepted this member list already", hint="wait for the other members")
    changed_keys(opened, view, member)
    own = compared_organisation(opened, member)
    check_own_entry(own, roster.organisation(own.entry.id))
    envelope = sign_acceptance(roster, roster.member(member.id), signer, now=datetime.now(UTC))
    remember_list(opened.context.settings, member, roster)
    view = opened.workspaces.accept(workspace_id=view.id, envelope=envelope)
    if view.proposal is None:
        push(list_for_brokers(opened, member, view.id), own, keys=own_key_ids(opened.context.settings, member))
    return view
