"""From a workspace to an open gate, through the services alone."""

import pytest

from opaque_jobs.domain.lifecycle import JobStatus, RunState, WorkspaceStatus
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import DeployableRevision


def test_path_from_workspace_to_open_gate_holds_until_the_last_vote(study):
    services = study.services
    job = study.make_job()
    assert (job.status, job.stage, job.next_revision) == (JobStatus.DRAFT, "Draft", 1)

    review = study.submit(job.id, test_run_id=study.passed_test(job.id))
    assert review.status is JobStatus.UNDER_REVIEW
    assert set(review.waiting_for) == {study.id("ben"), study.id("lea")}

    run = study.open_run(job.id)
    assert services.deployments.gate_states([run.id, f"{job.id}@1"]) == {run.id: "waiting", f"{job.id}@1": "waiting"}

    assert study.vote(job.id, "ben").status is JobStatus.UNDER_REVIEW
    assert services.deployments.gate_states([run.id]) == {run.id: "waiting"}
    assert study.vote(job.id, "lea").status is JobStatus.ACCEPTED

    assert services.deployments.gate_states([run.id]) == {run.id: "open"}
    assert services.runs.start(run.id).state is RunState.RUNNING
    assert study.show(job.id).stage == "Execution"


def test_workspace_with_all_acceptances_is_active(study):
    view = study.services.workspaces.show("Study", actor=study.id("lea"))
    assert view.status is WorkspaceStatus.ACTIVE
    assert view.proposal is None
    assert view.roster is not None
    assert view.roster.epoch == 1


def test_deployable_marker_changes_with_the_status(study):
    job = study.make_job()
    assert study.services.deployments.deployable() == []
    study.submit(job.id)
    (waiting,) = study.services.deployments.deployable()
    study.vote(job.id, "ben")
    assert study.services.deployments.deployable() == [waiting]
    study.vote(job.id, "lea")
    (accepted,) = study.services.deployments.deployable()
    assert isinstance(accepted, DeployableRevision)
    assert (accepted.status, accepted.marker != waiting.marker) == (JobStatus.ACCEPTED, True)


def test_second_workspace_of_the_same_name_is_refused(study):
    before = study.services.workspaces.list(actor=study.id("ben"))
    with pytest.raises(ConflictError, match="'Study' already"):
        study.propose_workspace("ben", "lea")
    assert study.services.workspaces.list(actor=study.id("ben")) == before
