"""Workspaces and member lists over the services."""

from typing import Any

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import page
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.workspace import RunPolicy
from opaque_jobs.protocol.documents import (
    FollowedList,
)
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    BrokerPush,
    RosterProposal,
    WorkspaceView,
)

__all__ = ["WorkspacesUseCases"]


class WorkspacesUseCases(UseCases):
    """See `protocol.api.Workspaces`."""

    def list(self, *, actor: Actor, archived: bool = False, cursor: str | None = None, limit: int = 100) -> Page[WorkspaceView]:
        found = self._services.workspaces.list(actor=actor.member_id, archived=archived)
        return page(found, key=lambda each: (each.name, each.id), cursor=cursor, limit=limit)

    def show(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.show(workspace_id, actor=actor.member_id)

    def create(
        self,
        *,
        actor: Actor,
        name: str,
        member_ids: tuple[str, ...],
        description: str = "",
        run_policy: RunPolicy = RunPolicy.AUTHOR,
        runners: tuple[str, ...] = (),
        approval_groups: tuple[ApprovalGroup, ...] = (),
    ) -> RosterProposal:
        return self._services.workspaces.create(
            actor=actor.member_id,
            name=name,
            description=description,
            member_ids=member_ids,
            run_policy=run_policy,
            runners=runners,
            approval_groups=approval_groups,
        )

    def propose_change(self, *, actor: Actor, workspace_id: str, **changes: Any) -> RosterProposal:
        return self._services.workspaces.propose_change(actor=actor.member_id, workspace_id=workspace_id, **changes)

    def cancel(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.cancel(workspace_id, actor=actor.member_id)

    def accept(self, *, actor: Actor, workspace_id: str, envelope: bytes) -> WorkspaceView:
        proposal = self._services.workspaces.show(workspace_id, actor=actor.member_id).proposal
        if proposal is not None:
            self._check_own(actor, envelope, proposal.roster.members)
        return self._services.workspaces.accept(workspace_id=workspace_id, envelope=envelope)

    def followed_list(self, *, actor: Actor, workspace_id: str) -> FollowedList | None:
        found = self._services.workspaces.followed_list(workspace_id, actor=actor.member_id)
        return None if found is None else FollowedList(roster=found[0], acceptances=found[1])

    def broker_push(self, *, actor: Actor, workspace_id: str) -> BrokerPush:
        return self._services.workspaces.broker_push(workspace_id, actor=actor.member_id)

    def archive(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.archive(workspace_id, actor=actor.member_id)

    def unarchive(self, *, actor: Actor, workspace_id: str) -> WorkspaceView:
        return self._services.workspaces.unarchive(workspace_id, actor=actor.member_id)
