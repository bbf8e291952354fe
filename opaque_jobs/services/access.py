"""Who is asking, and what they are to the thing they ask about. Closed by default: what one may not see does not exist."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from opaque_jobs.domain.lifecycle import WorkspaceStatus
from opaque_jobs.domain.roles import Action, Role, may, role_of
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, parse_roster
from opaque_jobs.errors import ConflictError, DeniedError, NotFoundError
from opaque_jobs.protocol.views import OrganisationView
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import people
from opaque_jobs.store import workspaces as workspace_rows
from opaque_jobs.store.records import JobRecord, MemberRecord, OrganisationRecord, WorkspaceRecord
from opaque_jobs.store.words import RosterState

__all__ = [
    "JobAccess",
    "access_to_job",
    "check_active",
    "member_entry",
    "member_workspace",
    "organisation_view",
    "require",
    "roster_in_force",
    "unknown_workspace",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccess:
    """A job together with how the asker stands to it; `roster` is the one in force."""

    job: JobRecord
    workspace: WorkspaceRecord
    roster: Roster
    role: Role


def member_entry(record: MemberRecord) -> MemberEntry:
    """Give the domain's form of a registered member."""
    return MemberEntry(id=record.id, name=record.name, organisation_id=record.organisation_id, public_key=record.public_key)


def organisation_view(record: OrganisationRecord) -> OrganisationView:
    """Give the services' form of a registered organisation."""
    entry = OrganisationEntry(
        id=record.id,
        name=record.name,
        sealing_key=record.sealing_key,
        broker_deposit_key=record.broker_deposit_key,
        broker_signing_key=record.broker_signing_key,
    )
    return OrganisationView(entry=entry, broker_address=record.broker_address)


def roster_in_force(session: Session, workspace_id: str) -> Roster | None:
    """Give the workspace's current roster; None while it is pending."""
    found = workspace_rows.roster_in_state(session, workspace_id, RosterState.IN_FORCE)
    return parse_roster(found.body) if found else None


def member_workspace(session: Session, workspace_id: str, actor: str) -> tuple[WorkspaceRecord, Roster]:
    """Give a workspace whose roster in force names the actor.

    Raises:
        ConflictError: The actor is named only in a member list that still waits for signatures.
        NotFoundError: None, or the actor may not know of it.
    """
    roster = roster_in_force(session, workspace_id)
    if roster is not None and actor in {member.id for member in roster.members}:
        return workspace_rows.workspace(session, workspace_id), roster
    if workspace_id in {each.id for each in workspace_rows.workspaces_of(session, actor)}:
        raise ConflictError(
            "not every member has accepted the workspace's member list yet",
            hint="each runs 'opaque-jobs workspace accept'; 'opaque-jobs workspace cancel' takes the list back",
        )
    raise unknown_workspace()


def unknown_workspace() -> NotFoundError:
    """Give the error for a workspace that there is not, or of which the actor may not know."""
    return NotFoundError("no such workspace", hint="list yours with 'opaque-jobs workspace list'")


def check_active(workspace: WorkspaceRecord) -> None:
    """Check that work may go on in a workspace.

    Raises:
        ConflictError: It is pending or archived.
    """
    if workspace.status is not WorkspaceStatus.ACTIVE:
        raise ConflictError(
            f"the workspace is {workspace.status.value}",
            hint="pending: every member must accept; archived: un-archive it",
            status=workspace.status.value,
        )


def access_to_job(session: Session, job_id: str, actor: str, action: Action = Action.SEE) -> JobAccess:
    """Give a job to somebody who may see it, and check that they may do more.

    Raises:
        NotFoundError: None, or the actor may not know of it.
        DeniedError: The actor may see it, but not do this.
    """
    unknown = NotFoundError("no such job", hint="list yours with 'opaque-jobs job list'")
    job = job_rows.find_job(session, job_id)
    roster = roster_in_force(session, job.workspace_id) if job else None
    if job is None or roster is None:
        raise unknown
    asker = next((member for member in roster.members if member.id == actor), None)
    role = role_of(
        actor,
        asker.organisation_id if asker else None,
        author_id=job.author_id,
        author_organisation_id=people.member(session, job.author_id).organisation_id,
        is_member=asker is not None,
    )
    if not may(role, Action.SEE):
        raise unknown
    require(role, action)
    workspace = workspace_rows.workspace(session, job.workspace_id)
    return JobAccess(job=job, workspace=workspace, roster=roster, role=role)


def require(role: Role, action: Action) -> None:
    """Check the table of roles.

    Raises:
        DeniedError: The role does not allow the action.
    """
    if not may(role, action):
        raise DeniedError(
            f"you may not do this: {action.value.replace('_', ' ')}", hint="see who may in 'job show'", role=role.value
        )
