"""Rosters as the services make, propose and show them; `workspaces` has the use cases."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from opaque_jobs.crypto.consent import roster_refusals, verify_withdrawal
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.lifecycle import JOB, JobEvent, JobStatus, WorkspaceEvent, WorkspaceStatus
from opaque_jobs.domain.workspace import Roster, RunPolicy, parse_roster
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.protocol.views import BrokerPush, BrokerTarget, RosterProposal, WorkspaceView
from opaque_jobs.services.access import member_entry, organisation_view, roster_in_force
from opaque_jobs.store import datasets as dataset_rows
from opaque_jobs.store import events, people
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import reviews as review_rows
from opaque_jobs.store import workspaces as rows
from opaque_jobs.store.records import RosterRecord, WorkspaceRecord
from opaque_jobs.store.words import RosterState

__all__ = ["agreed", "broker_push", "make_roster", "put_in_force", "roster_proposal", "standing_withdrawals", "workspace_view"]


def broker_push(session: Session, roster: Roster, withdrawals: Sequence[bytes] = ()) -> BrokerPush:
    """Give what the brokers of a roster's organisations must learn."""
    return BrokerPush(
        targets=tuple(
            BrokerTarget(organisation_id=each.id, address=people.organisation(session, each.id).broker_address)
            for each in roster.organisations
        ),
        roster=roster.to_bytes(),
        acceptances=_accepted(session, roster.digest),
        earlier=_earlier(session, roster),
        withdrawals=tuple(withdrawals),
    )


def _earlier(session: Session, roster: Roster) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    """Give the lists before, by epoch, that hold: one row of nonsense would keep the rest from brokers."""
    found = []
    for each in rows.past_rosters(session, roster.workspace_id):
        accepted = _accepted(session, each.digest)
        try:
            refusals = roster_refusals(parse_roster(each.body), accepted)
        except OpaqueJobsError:
            continue
        if not refusals:
            found.append((each.body, accepted))
    return tuple(found)


def _accepted(session: Session, roster_digest: str) -> tuple[bytes, ...]:
    return tuple(each.envelope for each in rows.acceptances(session, roster_digest))


def standing_withdrawals(session: Session, roster: Roster) -> list[bytes]:
    """Give every withdrawal of this epoch that brokers would believe, whatever status its revision has.

    One row of nonsense would keep the others from them: brokers take all that they are told, or nothing.
    """
    found = []
    for revision in job_rows.revisions_in(session, tuple(JobStatus), workspace_id=roster.workspace_id):
        if revision.roster_digest != roster.digest:
            continue
        for each in review_rows.withdrawals(session, revision.job_id, revision.revision):
            try:
                verify_withdrawal(each.envelope, job_digest=revision.digest, roster=roster)
            except OpaqueJobsError:
                continue
            found.append(each.envelope)
    return found


def make_roster(
    session: Session,
    workspace: WorkspaceRecord,
    *,
    member_ids: Sequence[str],
    run_policy: RunPolicy,
    runners: Sequence[str],
    approval_groups: Sequence[ApprovalGroup],
    log_key: str,
    before: Roster | None,
) -> Roster:
    """Make the list of the next epoch from the people and keys registered now."""
    members = [member_entry(people.member(session, each)) for each in sorted(set(member_ids))]
    owners = sorted({member.organisation_id for member in members})
    return Roster(
        v=1,
        workspace_id=workspace.id,
        name=workspace.name,
        epoch=1 if before is None else before.epoch + 1,
        genesis=None if before is None else before.genesis_digest,
        previous=None if before is None else before.digest,
        members=tuple(members),
        organisations=tuple(organisation_view(people.organisation(session, each)).entry for each in owners),
        run_policy=run_policy,
        runners=tuple(sorted(set(runners))),
        approval_groups=tuple(sorted(approval_groups, key=lambda group: group.name)),
        log_key=log_key,
        nonce=secrets.token_hex(16),
    )


def agreed(roster: Roster) -> tuple[object, ...]:
    """Give all that members agree on, without what makes it one list among others."""
    return (roster.members, roster.organisations, roster.run_policy, roster.runners, roster.approval_groups)


def put_in_force(session: Session, workspace: WorkspaceRecord, proposed: RosterRecord, now: datetime) -> None:
    """Put an accepted roster in force; a new epoch takes back every consent of the one before."""
    before = rows.roster_in_state(session, workspace.id, RosterState.IN_FORCE)
    if before is not None:
        rows.set_roster_state(session, before, RosterState.PAST)
    rows.set_roster_state(session, proposed, RosterState.IN_FORCE)
    if workspace.status is WorkspaceStatus.PENDING:
        rows.apply_event(session, workspace, WorkspaceEvent.ACTIVATE, actor=None, now=now)
    events.append(session, noun="workspace", subject_id=workspace.id, event="epoch", actor=None, now=now, epoch=proposed.epoch)
    _supersede_all(session, workspace.id, now)


def _supersede_all(session: Session, workspace_id: str, now: datetime) -> None:
    """Take back every consent of the epoch before: it was given among other members."""
    standing = (JobStatus.UNDER_REVIEW, JobStatus.ACCEPTED)
    for revision in job_rows.revisions_in(session, standing, workspace_id=workspace_id):
        job_rows.apply_revision_event(session, revision, JobEvent.SUPERSEDE, actor=None, now=now)
    for job in job_rows.jobs_in(session, [workspace_id]):
        if JobEvent.SUPERSEDE in JOB.events(job.status):
            job_rows.apply_job_event(session, job, JobEvent.SUPERSEDE, actor=None, now=now)


def roster_proposal(session: Session, workspace_id: str, roster: Roster) -> RosterProposal:
    """Give a roster that waits, and for whom."""
    accepted = {each.member_id for each in rows.acceptances(session, roster.digest)}
    return RosterProposal(
        workspace_id=workspace_id,
        roster=roster,
        roster_bytes=roster.to_bytes(),
        waiting_for=tuple(member.id for member in roster.members if member.id not in accepted),
    )


def workspace_view(session: Session, record: WorkspaceRecord) -> WorkspaceView:
    """Give what members see of a workspace."""
    proposed = rows.roster_in_state(session, record.id, RosterState.PROPOSED)
    return WorkspaceView(
        id=record.id,
        name=record.name,
        description=record.description,
        status=record.status,
        roster=roster_in_force(session, record.id),
        proposal=roster_proposal(session, record.id, parse_roster(proposed.body)) if proposed else None,
        dataset_ids=tuple(each.id for each in dataset_rows.shared_into(session, record.id)),
        created_at=record.created_at,
    )
