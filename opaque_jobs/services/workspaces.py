"""Organisations, members and workspaces: who may take part, and the rosters that they sign."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from opaque_jobs.crypto.consent import roster_refusals, verify_acceptance
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.ids import check_name, check_text, new_id
from opaque_jobs.domain.lifecycle import WorkspaceEvent, WorkspaceStatus
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, RunPolicy, parse_roster
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError
from opaque_jobs.protocol.views import BrokerPush, OrganisationView, RosterProposal, WorkspaceView
from opaque_jobs.services import log_book
from opaque_jobs.services.access import (
    check_active,
    member_entry,
    member_workspace,
    organisation_view,
    roster_in_force,
    unknown_workspace,
)
from opaque_jobs.services.context import Context
from opaque_jobs.services.rosters import (
    agreed,
    broker_push,
    make_roster,
    put_in_force,
    roster_proposal,
    standing_withdrawals,
    workspace_view,
)
from opaque_jobs.store import events, people
from opaque_jobs.store import log as log_rows
from opaque_jobs.store import workspaces as rows
from opaque_jobs.store.records import (
    AcceptanceRecord,
    MemberRecord,
    OrganisationRecord,
    RosterRecord,
    WorkspaceRecord,
)
from opaque_jobs.store.words import RosterState

__all__ = ["Workspaces"]


class Workspaces:
    """Use cases about organisations, members and workspaces."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def register_organisation(self, entry: OrganisationEntry, *, broker_address: str) -> OrganisationView:
        """Make an organisation known to this installation.

        Raises:
            ConflictError: The id or name is taken.
            InvalidInputError: The address is no http(s) address.
        """
        _check_address(broker_address)
        now = self._context.now()
        record = OrganisationRecord(
            id=entry.id,
            name=entry.name,
            sealing_key=entry.sealing_key,
            broker_deposit_key=entry.broker_deposit_key,
            broker_signing_key=entry.broker_signing_key,
            broker_address=broker_address,
            created_at=now,
        )
        with self._context.store.write() as session:
            people.add_organisation(session, record)
            events.append(session, noun="organisation", subject_id=entry.id, event="register", actor=None, now=now)
        return organisation_view(record)

    def move_broker(self, organisation_id: str, *, broker_address: str) -> OrganisationView:
        """Change the address at which an organisation's broker answers (its keys stay).

        Raises:
            InvalidInputError: The address is no http(s) address.
            NotFoundError: No such organisation.
        """
        _check_address(broker_address)
        with self._context.store.write() as session:
            record = people.organisation(session, organisation_id)
            people.set_address(session, record.id, broker_address)
            events.append(
                session, noun="organisation", subject_id=record.id, event="move-broker", actor=None, now=self._context.now()
            )
            return organisation_view(people.organisation(session, record.id))

    def register_member(self, entry: MemberEntry) -> MemberEntry:
        """Make a member known; their public key counts in a workspace only once they sign its roster.

        Raises:
            ConflictError: The id, name or key is taken.
            NotFoundError: The organisation is not registered.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            people.organisation(session, entry.organisation_id)
            people.add_member(
                session,
                MemberRecord(
                    id=entry.id,
                    name=entry.name,
                    organisation_id=entry.organisation_id,
                    public_key=entry.public_key,
                    created_at=now,
                ),
            )
            events.append(session, noun="member", subject_id=entry.id, event="register", actor=None, now=now)
        return entry

    def organisations(self) -> list[OrganisationView]:
        """Give all organisations, by name."""
        with self._context.store.read() as session:
            return [organisation_view(record) for record in people.list_organisations(session)]

    def organisation(self, organisation_id: str) -> OrganisationView:
        """Give one organisation, by id or name.

        Raises:
            NotFoundError: None by that id or name.
        """
        with self._context.store.read() as session:
            return organisation_view(people.organisation(session, organisation_id))

    def members(self, *, organisation_id: str | None = None) -> list[MemberEntry]:
        """Give registered members, by name."""
        with self._context.store.read() as session:
            return [member_entry(record) for record in people.list_members(session, organisation_id)]

    def member(self, member_id: str) -> MemberEntry:
        """Give one member by id.

        Raises:
            NotFoundError: Nobody by that id.
        """
        with self._context.store.read() as session:
            return member_entry(people.member(session, member_id))

    def member_for_login(self, name: str) -> MemberEntry:
        """Give the member with this log-in name.

        Raises:
            NotFoundError: Nobody by that name.
        """
        with self._context.store.read() as session:
            return member_entry(people.member_by_name(session, name))

    def create(
        self,
        *,
        actor: str,
        name: str,
        description: str,
        member_ids: Sequence[str],
        run_policy: RunPolicy = RunPolicy.AUTHOR,
        runners: Sequence[str] = (),
        approval_groups: Sequence[ApprovalGroup] = (),
    ) -> RosterProposal:
        """Make a pending workspace; it becomes active when every member accepted. The actor is always a member.

        Without approval groups, every member must approve every job.

        Raises:
            ConflictError: The actor has a workspace of this name.
            InvalidInputError: Name, description or members are not valid.
            NotFoundError: A member is not registered.
        """
        check_name(name, what="workspace")
        check_text(description, what="workspace's description", limit=150)
        now = self._context.now()
        record = WorkspaceRecord(
            id=new_id("ws"), name=name, description=description, status=WorkspaceStatus.PENDING, version=1, created_at=now
        )
        with self._context.store.write() as session:
            if name in {each.name for each in rows.workspaces_of(session, actor) if each.status is not WorkspaceStatus.ARCHIVED}:
                raise ConflictError(
                    f"you are in a workspace '{name}' already",
                    hint="choose another name; 'opaque-jobs workspace cancel' takes one back that is pending",
                )
            roster = make_roster(
                session,
                record,
                member_ids=[actor, *member_ids],
                run_policy=run_policy,
                runners=runners,
                approval_groups=approval_groups,
                log_key=log_book.installation_key(self._context, session),
                before=None,
            )
            rows.add_workspace(session, record)
            log_rows.start(session, record.id)
            self._propose(session, roster, now, actor=actor)
            events.append(session, noun="workspace", subject_id=record.id, event="create", actor=actor, now=now)
            return roster_proposal(session, record.id, roster)

    def accept(self, *, workspace_id: str, envelope: bytes) -> WorkspaceView:
        """Take one signed acceptance of the proposed roster; with the last the roster is in force.

        A new epoch supersedes all revisions under review or accepted, in the same transaction.

        Raises:
            ConflictError: No roster waits, or this member has accepted already.
            TrustError: The acceptance does not hold.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            workspace = rows.workspace(session, workspace_id)
            proposed = rows.roster_in_state(session, workspace_id, RosterState.PROPOSED)
            if proposed is None:
                raise ConflictError("no member list waits for acceptance", hint="see 'opaque-jobs workspace show'")
            roster = parse_roster(proposed.body)
            member = verify_acceptance(envelope, roster)
            known = rows.acceptances(session, proposed.digest)
            if member.id in {each.member_id for each in known}:
                raise ConflictError("you have accepted this member list already", hint="wait for the other members")
            rows.add_acceptance(
                session,
                AcceptanceRecord(roster_digest=proposed.digest, member_id=member.id, envelope=envelope, accepted_at=now),
            )
            events.append(
                session, noun="workspace", subject_id=workspace_id, event="accept", actor=member.id, now=now, epoch=roster.epoch
            )
            log_book.append(
                self._context,
                session,
                workspace_id,
                EntryKind.ACCEPTANCE,
                member.id,
                now=now,
                document=envelope,
                epoch=roster.epoch,
                roster=roster.digest,
            )
            if not roster_refusals(roster, [*(each.envelope for each in known), envelope]):
                put_in_force(session, workspace, proposed, now)
            return workspace_view(session, rows.workspace(session, workspace_id))

    def propose_change(
        self,
        *,
        actor: str,
        workspace_id: str,
        member_ids: Sequence[str] | None = None,
        run_policy: RunPolicy | None = None,
        runners: Sequence[str] | None = None,
        approval_groups: Sequence[ApprovalGroup] | None = None,
    ) -> RosterProposal:
        """Propose the next epoch's roster, with the keys registered now; it replaces an earlier proposal. None keeps.

        Raises:
            ConflictError: The workspace is not active, or nothing changes.
            NotFoundError: The actor is not a member, or a new member is not registered.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            workspace, current = member_workspace(session, workspace_id, actor)
            check_active(workspace)
            policy = current.run_policy if run_policy is None else run_policy
            kept = current.runners if policy is RunPolicy.NAMED_MEMBERS else ()
            roster = make_roster(
                session,
                workspace,
                member_ids=[member.id for member in current.members] if member_ids is None else member_ids,
                run_policy=policy,
                runners=kept if runners is None else runners,
                approval_groups=current.approval_groups if approval_groups is None else approval_groups,
                log_key=current.log_key,
                before=current,
            )
            if agreed(roster) == agreed(current):
                raise ConflictError(
                    "the member list would not change", hint="name other members or another rule, or change a key first"
                )
            self._propose(session, roster, now, actor=actor)
            events.append(
                session, noun="workspace", subject_id=workspace_id, event="propose", actor=actor, now=now, epoch=roster.epoch
            )
            return roster_proposal(session, workspace_id, roster)

    def propose_keys(self, owner_id: str) -> list[WorkspaceView]:
        """Propose the next member list wherever one stands or waits with a key that is registered no more.

        A list that waits stays as it is but for the keys; signatures under it are asked for again. What is as it should be is
        left alone, so this can be repeated. Archived workspaces are left out.

        Args:
            owner_id: The member or organisation whose key is another.

        Returns:
            All workspaces with the member, or with members of the organisation.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            owners = [owner_id, *(each.id for each in people.list_members(session, owner_id))]
            found = {each.id: each for owner in owners for each in rows.workspaces_of(session, owner)}
            standing = [each for each in found.values() if each.status in {WorkspaceStatus.PENDING, WorkspaceStatus.ACTIVE}]
            for workspace in standing:
                current = roster_in_force(session, workspace.id)
                waiting = rows.roster_in_state(session, workspace.id, RosterState.PROPOSED)
                newest = parse_roster(waiting.body) if waiting else current
                if newest is None:
                    continue
                wanted = make_roster(
                    session,
                    workspace,
                    member_ids=[member.id for member in newest.members],
                    run_policy=newest.run_policy,
                    runners=newest.runners,
                    approval_groups=newest.approval_groups,
                    log_key=newest.log_key,
                    before=current,
                )
                if agreed(wanted) != agreed(newest):
                    self._propose(session, wanted, now, actor=None)
                    events.append(
                        session, noun="workspace", subject_id=workspace.id, event="propose", actor=None, now=now,
                        epoch=wanted.epoch,
                    )  # fmt: skip
            return [workspace_view(session, each) for each in standing]

    def cancel(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Take back the member list that waits; a workspace that never had one in force is over with it, and its name free.

        Who proposed it may do so, and everybody whose signature it needs: without theirs it could not come into force.

        Raises:
            ConflictError: No member list waits.
            DeniedError: The actor did not propose it and is not in it.
            NotFoundError: None, or the actor may not know of it.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            if workspace_id not in {each.id for each in rows.workspaces_of(session, actor)}:
                raise unknown_workspace()
            workspace = rows.workspace(session, workspace_id)
            proposed = rows.roster_in_state(session, workspace_id, RosterState.PROPOSED)
            if proposed is None:
                raise ConflictError("no member list waits for acceptance", hint="see 'opaque-jobs workspace show'")
            asked = {member.id for member in parse_roster(proposed.body).members}
            if actor not in {*asked, _proposer(session, workspace_id)}:
                raise DeniedError(
                    "this member list can be taken back by whoever proposed it and by those named in it",
                    hint="see who that is with 'opaque-jobs workspace show'",
                )
            rows.set_roster_state(session, proposed, RosterState.REPLACED)
            if workspace.status is WorkspaceStatus.PENDING:
                rows.apply_event(session, workspace, WorkspaceEvent.CANCEL, actor=actor, now=now)
            else:
                events.append(
                    session, noun="workspace", subject_id=workspace_id, event="cancel", actor=actor, now=now, epoch=proposed.epoch
                )
            return workspace_view(session, rows.workspace(session, workspace_id))

    def show(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Give a workspace, by id or name, to one of its (proposed) members.

        Raises:
            NotFoundError: None, or the actor may not know of it.
            ConflictError: Two of the actor's workspaces have this name.
        """
        with self._context.store.read() as session:
            mine = rows.workspaces_of(session, actor)
            found = [each for each in mine if each.id == workspace_id] or [each for each in mine if each.name == workspace_id]
            if not found:
                raise unknown_workspace()
            if len(found) > 1:
                raise ConflictError(
                    "two of your workspaces have this name", hint="name it by its id, see 'opaque-jobs workspace list'"
                )
            return workspace_view(session, found[0])

    def list(self, *, actor: str, archived: bool = False) -> list[WorkspaceView]:
        """Give the actor's workspaces, by name."""
        with self._context.store.read() as session:
            return [
                workspace_view(session, each)
                for each in rows.workspaces_of(session, actor)
                if archived or each.status is not WorkspaceStatus.ARCHIVED
            ]

    def archive(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Archive: nothing in it may run any more.

        Raises:
            NotFoundError: None, or the actor is not a member.
            ConflictError: It is not active.
        """
        return self._apply(workspace_id, WorkspaceEvent.ARCHIVE, actor)

    def unarchive(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Make it active again.

        Raises:
            NotFoundError: None, or the actor is not a member.
            ConflictError: It is not archived.
        """
        return self._apply(workspace_id, WorkspaceEvent.UNARCHIVE, actor)

    def _propose(self, session: Session, roster: Roster, now: datetime, *, actor: str | None) -> None:
        record = RosterRecord(
            digest=roster.digest,
            workspace_id=roster.workspace_id,
            epoch=roster.epoch,
            state=RosterState.PROPOSED,
            body=roster.to_bytes(),
            created_at=now,
        )
        rows.propose(session, record, [member.id for member in roster.members])
        log_book.append(
            self._context,
            session,
            roster.workspace_id,
            EntryKind.ROSTER,
            roster.workspace_id,
            now=now,
            document=record.body,
            actor=actor,
            epoch=roster.epoch,
        )

    def _apply(self, workspace_id: str, event: WorkspaceEvent, actor: str) -> WorkspaceView:
        with self._context.store.write() as session:
            workspace, _ = member_workspace(session, workspace_id, actor)
            rows.apply_event(session, workspace, event, actor=actor, now=self._context.now())
            return workspace_view(session, rows.workspace(session, workspace_id))

    def followed_list(self, workspace_id: str, *, actor: str) -> tuple[bytes, tuple[bytes, ...]] | None:
        """Give the list that the waiting one says it follows, whatever its state, with its acceptances; None if it is not here.

        Args:
            workspace_id: The workspace.
            actor: In the list that waits, or in the one in force.

        Trust: untrusted, as all that is stored; who signs the waiting list verifies it.

        Raises:
            NotFoundError: No such workspace, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            if workspace_id not in {each.id for each in rows.workspaces_of(session, actor)}:
                raise unknown_workspace()
            proposed = rows.roster_in_state(session, workspace_id, RosterState.PROPOSED)
            previous = parse_roster(proposed.body).previous if proposed else None
            found = rows.roster(session, previous) if previous else None
            return (found.body, tuple(each.envelope for each in rows.acceptances(session, found.digest))) if found else None

    def broker_push(self, workspace_id: str, *, actor: str) -> BrokerPush:
        """Give the roster in force with its acceptances and this epoch's withdrawals, and the brokers that must learn them.

        Raises:
            NotFoundError: None, or no roster that names the actor is in force yet.
        """
        with self._context.store.read() as session:
            _, roster = member_workspace(session, workspace_id, actor)
            return broker_push(session, roster, standing_withdrawals(session, roster))


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise InvalidInputError("the broker's address is not valid", hint="write it as http://127.0.0.1:8701")


def _proposer(session: Session, workspace_id: str) -> str | None:
    """Give who made the proposal that waits: the last to propose anything."""
    proposals = [each for each in events.events_of(session, workspace_id) if each.event in {"create", "propose"}]
    return proposals[-1].actor if proposals else None
