"""Every (status, event) pair of a job, driven through the services: where the table has no arrow, nothing changes."""

from datetime import timedelta
from itertools import product

import pytest

from opaque_jobs.domain.lifecycle import JOB, JobEvent, JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError

DEADLINE_DAYS = 2


def reach(cast, status):
    """Bring a new job into a status; gives its id."""
    job = cast.make_job()
    if status is JobStatus.DRAFT:
        return job.id
    cast.submit(job.id, deadline=cast.clock() + timedelta(days=DEADLINE_DAYS))
    match status:
        case JobStatus.ACCEPTED:
            cast.vote(job.id, "ben")
            cast.vote(job.id, "lea")
        case JobStatus.REJECTED:
            cast.vote(job.id, "lea", Decision.REJECT)
        case JobStatus.EXPIRED:
            cast.clock.forward(days=DEADLINE_DAYS)
            assert cast.services.reviews.expire_due() == [job.id]
        case JobStatus.WITHDRAWN:
            cast.withdraw(job.id, "ben")
        case JobStatus.SUPERSEDED:
            cast.change_members("anna", "ben", "lea", "mallory")
    return job.id


def apply(cast, job_id, event):  # noqa: C901 - one case for each event
    """Make an event happen the way people make it happen."""
    match event:
        case JobEvent.SUBMIT:
            cast.submit(job_id)
        case JobEvent.ACCEPT:
            cast.vote(job_id, "ben")
            cast.vote(job_id, "lea")
        case JobEvent.REJECT:
            cast.vote(job_id, "lea", Decision.REJECT)
        case JobEvent.CANCEL_REVIEW:
            cast.cancel_review(job_id)
        case JobEvent.EXPIRE:
            cast.clock.forward(days=DEADLINE_DAYS + 1)
            if job_id not in cast.services.reviews.expire_due():
                raise ConflictError("nothing was due")
        case JobEvent.WITHDRAW:
            if not cast.show(job_id).revisions:
                raise ConflictError("nothing was submitted")
            cast.withdraw(job_id, "lea")
        case JobEvent.SUPERSEDE:
            before = cast.show(job_id).status
            roster = cast.services.workspaces.show(cast.workspace_id, actor=cast.id("anna")).roster
            names = ["anna", "ben", "lea"] if len(roster.members) == 4 else ["anna", "ben", "lea", "mallory"]
            cast.change_members(*names)
            if cast.show(job_id).status is before:
                raise ConflictError("it was left alone")
        case JobEvent.REVISE:
            cast.services.jobs.revise(actor=cast.id("anna"), job_id=job_id)


@pytest.mark.parametrize(("status", "event"), list(product(JobStatus, JobEvent)))
def test_job_event_through_the_services_follows_the_table(study, status, event):
    if event is JobEvent.ACCEPT and status is JobStatus.SUPERSEDED:
        pytest.skip("votes of another epoch are tried in tests/security")
    job_id = reach(study, status)
    assert study.show(job_id).status is status
    if (status, event) in JOB.table:
        apply(study, job_id, event)
        assert study.show(job_id).status is JOB.table[status, event]
    else:
        if event in (JobEvent.ACCEPT, JobEvent.REJECT) and not study.show(job_id).revisions:
            return
        if event is JobEvent.WITHDRAW and study.show(job_id).revisions:
            apply(study, job_id, event)  # whatever the status says; it changes nothing but what brokers know
        else:
            with pytest.raises(ConflictError):
                apply(study, job_id, event)
        assert study.show(job_id).status is status


def test_accepted_revision_stays_in_force_until_the_next_is_accepted(study):
    job = study.accepted_job()
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft(description="second"))
    assert study.show(job.id).accepted_revision == 1
    study.submit(job.id)
    assert study.services.deployments.gate_states([f"{job.id}@1", f"{job.id}@2"]) == {
        f"{job.id}@1": "open",
        f"{job.id}@2": "waiting",
    }
    study.vote(job.id, "ben")
    study.vote(job.id, "lea")
    assert study.show(job.id).accepted_revision == 2
    assert [each.status for each in study.show(job.id).revisions] == ["superseded", "accepted"]


def test_accepted_revision_survives_the_rejection_of_the_next(study):
    job = study.accepted_job()
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    study.submit(job.id)
    study.vote(job.id, "ben", Decision.REJECT)
    view = study.show(job.id)
    assert (view.status, view.accepted_revision) == (JobStatus.REJECTED, 1)


def test_withdrawal_from_an_older_accepted_revision_leaves_the_draft_alone(study):
    job = study.accepted_job()
    spec = study.spec(job.id)
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    study.withdraw(job.id, "lea", spec)
    push = study.services.workspaces.broker_push(study.workspace_id, actor=study.id("lea"))
    view = study.show(job.id)
    assert (view.status, view.accepted_revision, view.revisions[0].status) == (JobStatus.DRAFT, None, "withdrawn")
    assert {target.organisation_id for target in push.targets} == {"org-hospital", "org-laboratory"}
    assert len(push.withdrawals) == 1


def test_submission_in_a_single_member_workspace_is_accepted_at_once(cast):
    cast.workspace_id = cast.make_workspace("anna")
    cast.make_dataset("patients", "anna")
    job = cast.make_job()
    assert cast.submit(job.id).status is JobStatus.ACCEPTED
    assert cast.show(job.id).rerun_label == ""


def test_vote_after_the_deadline_expires_the_review(study):
    job = study.make_job()
    study.submit(job.id, deadline=study.clock() + timedelta(hours=1))
    study.clock.forward(hours=1)
    assert study.services.deployments.gate_states([f"{job.id}@1"]) == {f"{job.id}@1": "expired"}
    with pytest.raises(ConflictError):
        study.vote(job.id, "ben")
    assert study.show(job.id).status is JobStatus.EXPIRED


def test_second_vote_of_a_member_is_refused(study):
    job = study.make_job()
    study.submit(job.id)
    study.vote(job.id, "ben")
    with pytest.raises(ConflictError):
        study.vote(job.id, "ben", Decision.REJECT)
    assert study.show(job.id).status is JobStatus.UNDER_REVIEW
