"""The JSON form of what commands answer: stable keys, plain values, nothing that the view does not hold."""

from datetime import datetime
from typing import Any

from opaque_jobs.cli.rotation import Rotated
from opaque_jobs.client.organisation import OwnOrganisation
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.lifecycle import RUN
from opaque_jobs.domain.reasons import in_words
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, decode_key, key_id
from opaque_jobs.protocol.views import (
    DatasetView,
    JobView,
    LeaseView,
    OrganisationView,
    ReaderView,
    ReviewView,
    RosterProposal,
    RunView,
    WorkspaceView,
)

__all__ = [
    "dataset_document",
    "job_document",
    "member_document",
    "moment",
    "organisation_document",
    "own_organisation_document",
    "reader_document",
    "review_document",
    "rotated_document",
    "run_document",
    "workspace_document",
]


def moment(value: datetime | None) -> str | None:
    """Give a time as RFC 3339 text to the second."""
    return value.isoformat(timespec="seconds") if value else None


def organisation_document(view: OrganisationView) -> dict[str, Any]:
    """Organisation."""
    return {
        "id": view.entry.id,
        "name": view.entry.name,
        "sealing_key_id": view.entry.sealing_key_id,
        "broker": view.broker_address,
    }


def own_organisation_document(own: OwnOrganisation) -> dict[str, Any]:
    """Organisation as its own members know it."""
    return {"organisation": own.entry.name, **_key_ids(own.entry), "broker": own.broker_address}


def _key_ids(entry: OrganisationEntry) -> dict[str, str]:
    return {
        "sealing_key_id": entry.sealing_key_id,
        "broker_deposit_key_id": key_id(decode_key(entry.broker_deposit_key)),
        "broker_signing_key_id": key_id(decode_key(entry.broker_signing_key)),
    }


def member_document(entry: MemberEntry) -> dict[str, Any]:
    """Member."""
    return {"id": entry.id, "name": entry.name, "organisation_id": entry.organisation_id, "key_id": entry.key_id}


def rotated_document(done: Rotated) -> dict[str, Any]:
    """What a change of key has come to."""
    return {
        "key_id": done.key_id,
        "former_key_files": [str(path) for path in done.former],
        "pinned": done.pinned,
        "renewed_signatures": done.renewed,
        "not_signed_again": [
            {"dataset": each.name, "version": each.dataset_version, "digest": each.digest} for each in done.unsigned
        ],
        "left_to_accept": {name: list(differences) for name, differences in done.differing.items()},
        "workspaces": {view.name: _waiting_for(view.proposal) for view in done.workspaces},
    }


def _waiting_for(proposal: RosterProposal | None) -> list[str]:
    return [proposal.roster.member(each).name for each in proposal.waiting_for] if proposal else []


def _agreement(roster: Roster) -> dict[str, Any]:
    """What members agree on by accepting a member list."""
    return {
        "name": roster.name,
        "members": [member.name for member in roster.members],
        "organisations": {
            each.name: [member.name for member in roster.members if member.organisation_id == each.id]
            for each in roster.organisations
        },
        "digest": roster.digest,
        "log_key_id": key_id(decode_key(roster.log_key)),
        "keys": {
            **{member.name: member.key_id for member in roster.members},
            **{f"{each.name}: {use}": text for each in roster.organisations for use, text in _key_ids(each).items()},
        },
        "run_policy": roster.run_policy.value,
        "runners": [roster.member(each).name for each in roster.runners],
        "approval_rule": roster.approval_rule.value,
        "approval_groups": [
            {
                "name": each.name,
                "threshold": each.threshold,
                "members": sorted(roster.member(one).name for one in each.member_ids),
            }
            for each in roster.approval_groups
        ],
    }


def workspace_document(view: WorkspaceView) -> dict[str, Any]:
    """Workspace; `proposed` is what waits to be accepted beside the member list in force."""
    proposed = view.proposal.roster if view.proposal else None
    agreed = view.roster or proposed
    return {
        "id": view.id,
        "name": view.name,
        "description": view.description,
        "status": view.status.value,
        "epoch": view.roster.epoch if view.roster else None,
        "genesis": view.roster.genesis_digest if view.roster else None,
        **(_agreement(agreed) if agreed else {}),
        "proposed": {"epoch": proposed.epoch, **_agreement(proposed)} if proposed and view.roster else None,
        "waiting_for": _waiting_for(view.proposal),
        "dataset_ids": list(view.dataset_ids),
        "created_at": moment(view.created_at),
    }


def dataset_document(view: DatasetView) -> dict[str, Any]:
    """Data set."""
    current = view.versions[-1]
    return {
        "id": view.id,
        "name": view.name,
        "organisation_id": view.organisation_id,
        "description": view.description,
        "source": view.source.value,
        "version": current.version,
        "rows": current.manifest.rows,
        "size_bytes": view.size_bytes,
        "columns": {column.name: column.type for column in view.columns},
        "released": [column.name for column in view.released],
        "manifest_digest": current.manifest.digest,
        "policy_commitment": current.manifest.policy_commitment,
        "test_data": view.test_data_kind.value,
        "workspace_ids": list(view.workspace_ids),
        "created_at": moment(view.created_at),
    }


def reader_document(view: ReaderView) -> dict[str, Any]:
    """Job that reads a data set."""
    return {
        "id": view.job_id,
        "job": view.name,
        "revision": view.revision,
        "status": view.status.value,
        "workspace_id": view.workspace_id,
        "author_id": view.author_id,
        "version": view.version,
        "on_refresh": view.on_refresh,
        "columns": list(view.columns),
    }


def job_document(view: JobView) -> dict[str, Any]:
    """Job, with its draft."""
    draft = view.draft
    return {
        "id": view.id,
        "name": draft.name,
        "description": draft.description,
        "workspace_id": view.workspace_id,
        "author_id": view.author_id,
        "kind": draft.kind.value,
        "stage": view.stage,
        "status": view.status.value,
        "archived": view.archived,
        "accepted_revision": view.accepted_revision,
        "revisions": [
            {
                "revision": each.revision,
                "status": each.status.value,
                "digest": each.digest,
                "submitted_at": moment(each.submitted_at),
            }
            for each in view.revisions
        ],
        "reruns": view.rerun_label,
        "datasets": {use.alias: use.dataset_id for use in draft.datasets},
        "inputs": [to_json(each) for each in draft.inputs],
        "template": to_json(draft.template) if draft.template else None,
        "tee_kinds": [kind.value for kind in draft.tee_kinds],
        "experimental_hardware": draft.experimental_hardware,
        "created_at": moment(view.created_at),
        "updated_at": moment(view.updated_at),
    }


def lease_document(view: LeaseView) -> dict[str, Any]:
    """What is used and left of the approved rerun terms."""
    return {
        "runs_used": view.used,
        "runs_left": view.left,
        "until": moment(view.until),
        "next_run": moment(view.next_run),
        "over": in_words(view.over) if view.over else None,
    }


def review_document(view: ReviewView, names: dict[str, str]) -> dict[str, Any]:
    """Review; `names` gives the members' names by id."""
    return {
        "job_id": view.job_id,
        "revision": view.revision,
        "status": view.status.value,
        "job_digest": view.digest,
        "votes": [
            {
                "member": names.get(vote.member_id, vote.member_id),
                "decision": vote.decision.value,
                "comment": vote.comment,
                "voted_at": moment(vote.voted_at),
            }
            for vote in view.votes
        ],
        "approval_rule": view.approval_rule.value,
        "still_needed": [
            {"from": each.name, "missing": each.missing, "members": sorted(names.get(one, one) for one in each.member_ids)}
            for each in view.still_needed
        ],
        "waiting_for": [names.get(member_id, member_id) for member_id in view.waiting_for],
        "deadline": moment(view.deadline),
        "test_run_id": view.test_run_id,
        "no_test_reason": view.no_test_reason,
    }


def run_document(view: RunView) -> dict[str, Any]:
    """Run, without its result."""
    return {
        "id": view.id,
        "job_id": view.job_id,
        "revision": view.revision,
        "number": view.number,
        "kind": view.kind.value,
        "state": view.state.value,
        "reason": view.reason,
        "reasons": list(view.reasons),
        "because": [in_words(each) for each in view.reasons],
        "progress": None if RUN.terminal(view.state) else view.progress,
        "trigger": view.trigger.value,
        "actor": view.actor,
        "inputs": dict(view.inputs),
        "dataset_versions": dict(view.dataset_versions),
        "job_digest": view.job_digest,
        "dag_run_id": view.dag_run_id,
        "trust_label": view.trust_label.value if view.trust_label else None,
        "created_at": moment(view.created_at),
        "started_at": moment(view.started_at),
        "finished_at": moment(view.finished_at),
        "duration_s": None if view.duration_s is None else round(view.duration_s, 1),
    }
