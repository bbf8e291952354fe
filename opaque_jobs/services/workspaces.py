"""Organisations, members and workspaces: who may take part, and the rosters that they sign."""

from collections.abc import Sequence

from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, RunPolicy
from opaque_jobs.services.context import Context
from opaque_jobs.services.views import BrokerPush, OrganisationView, RosterProposal, WorkspaceView

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
        raise NotImplementedError

    def move_broker(self, organisation_id: str, *, broker_address: str) -> OrganisationView:
        """Change the address at which an organisation's broker answers (its keys stay)."""
        raise NotImplementedError

    def register_member(self, entry: MemberEntry) -> MemberEntry:
        """Make a member known; their public key counts in a workspace only once they sign its roster.

        Raises:
            ConflictError: The id, name or key is taken.
            NotFoundError: The organisation is not registered.
        """
        raise NotImplementedError

    def change_member_key(self, member_id: str, *, public_key: str) -> MemberEntry:
        """Replace a member's registered key; workspaces take it over by `propose_change` (a new epoch)."""
        raise NotImplementedError

    def organisations(self) -> list[OrganisationView]:
        """Give all organisations, by name."""
        raise NotImplementedError

    def organisation(self, organisation_id: str) -> OrganisationView:
        """Give one organisation, by id or name.

        Raises:
            NotFoundError: None by that id or name.
        """
        raise NotImplementedError

    def members(self, *, organisation_id: str | None = None) -> list[MemberEntry]:
        """Give registered members, by name."""
        raise NotImplementedError

    def member(self, member_id: str) -> MemberEntry:
        """Give one member by id.

        Raises:
            NotFoundError: Nobody by that id.
        """
        raise NotImplementedError

    def member_for_login(self, name: str) -> MemberEntry:
        """Give the member with this log-in name.

        Raises:
            NotFoundError: Nobody by that name.
        """
        raise NotImplementedError

    def create(
        self,
        *,
        actor: str,
        name: str,
        description: str,
        member_ids: Sequence[str],
        run_policy: RunPolicy = RunPolicy.AUTHOR,
        runners: Sequence[str] = (),
    ) -> RosterProposal:
        """Make a pending workspace; it becomes active when every member accepted. The actor is always a member.

        Raises:
            InvalidInputError: Name, description or members are not valid.
            NotFoundError: A member is not registered.
        """
        raise NotImplementedError

    def accept(self, *, workspace_id: str, envelope: bytes) -> WorkspaceView:
        """Take one signed acceptance of the proposed roster; with the last the roster is in force.

        A new epoch supersedes all revisions under review or accepted, in the same transaction.

        Raises:
            ConflictError: No roster waits, or this member has accepted already.
            TrustError: The acceptance does not hold.
        """
        raise NotImplementedError

    def propose_change(
        self,
        *,
        actor: str,
        workspace_id: str,
        member_ids: Sequence[str] | None = None,
        run_policy: RunPolicy | None = None,
        runners: Sequence[str] | None = None,
    ) -> RosterProposal:
        """Propose the next epoch's roster, with the keys registered now; it replaces an earlier proposal. None keeps.

        Raises:
            ConflictError: The workspace is not active, or nothing changes.
            DeniedError: The actor is not a member.
        """
        raise NotImplementedError

    def show(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Give a workspace, by id or name, to one of its (proposed) members.

        Raises:
            NotFoundError: None, or the actor may not know of it.
        """
        raise NotImplementedError

    def list(self, *, actor: str, archived: bool = False) -> list[WorkspaceView]:
        """Give the actor's workspaces, by name."""
        raise NotImplementedError

    def archive(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Archive: nothing in it may run any more."""
        raise NotImplementedError

    def unarchive(self, workspace_id: str, *, actor: str) -> WorkspaceView:
        """Make it active again."""
        raise NotImplementedError

    def broker_push(self, workspace_id: str, *, actor: str) -> BrokerPush:
        """Give the roster in force with its acceptances, and the brokers that must learn it.

        Raises:
            ConflictError: No roster is in force yet.
        """
        raise NotImplementedError
