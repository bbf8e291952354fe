"""Member lists as a member signs them: what a waiting one changes is verified against the one that this member signed before."""

from datetime import UTC, datetime

from opaque_jobs.cli.brokers import push
from opaque_jobs.cli.own_organisation import check_own_entry, compared_organisation
from opaque_jobs.cli.session import own_key_ids
from opaque_jobs.crypto.consent import roster_refusals, sign_acceptance
from opaque_jobs.crypto.key_changes import explained_changes
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.domain.key_change import NamedChange
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import ConflictError, TrustError
from opaque_jobs.services import Services
from opaque_jobs.services.views import WorkspaceView

__all__ = ["accept_roster", "changed_keys", "in_force", "waiting"]


def in_force(opened: Services, member: MemberEntry, workspace_id: str) -> MemberEntry:
    """Give a member with the key by which a workspace knows them now; theirs as registered while it is pending.

    Raises:
        NotFoundError: No such workspace, or they are not in it.
    """
    roster = opened.workspaces.show(workspace_id, actor=member.id).roster
    return roster.member(member.id) if roster and member.id in {each.id for each in roster.members} else member


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

    A member who is not in a list yet has signed nothing to compare with.

    Raises:
        TrustError: A key changes on nobody's word who may say so, or the list does not follow the one that the member signed.
    """
    before, proposed = view.roster, view.proposal.roster if view.proposal else None
    if before is None or proposed is None or member.id not in {each.id for each in before.members}:
        return ()
    # 1. What we compare with is what we signed, with everybody else in it: the database could show another list.
    signed = opened.workspaces.broker_push(view.id, actor=member.id)
    follows = (proposed.previous, proposed.genesis, proposed.epoch) == (before.digest, before.genesis_digest, before.epoch + 1)
    if signed.roster != before.to_bytes() or roster_refusals(before, signed.acceptances) or not follows:
        raise TrustError("the waiting member list does not follow one that you signed", hint="do not accept it")
    if proposed.log_key != before.log_key:
        raise TrustError("the waiting member list names another log than the one that you signed", hint="do not accept it")
    # 2. Each key that differs is the next one on the word of who may say so.
    owners = [*(each.id for each in before.members), *(each.id for each in before.organisations)]
    return explained_changes(before, proposed, opened.keys.signed_changes(owners))


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
    view = opened.workspaces.accept(workspace_id=view.id, envelope=envelope)
    if view.proposal is None:
        push(opened.workspaces.broker_push(view.id, actor=member.id), own, keys=own_key_ids(opened.context.settings, member))
    return view
