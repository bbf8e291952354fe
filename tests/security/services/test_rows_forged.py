"""An attacker who may write every row: no approval comes of it, because acceptance is proved by signatures each time."""

import pytest
from sqlalchemy import text

from opaque_jobs.crypto.consent import roster_refusals
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.errors import ConflictError, OpaqueJobsError
from opaque_jobs.services.runs import CONSENT_NOT_PROVED


def _sql(cast, statement, **values):
    with cast.services.context.store.write() as session:
        session.execute(text(statement), values)


def test_status_written_by_hand_does_not_start_a_run(study):
    job = study.make_job()
    study.submit(job.id)
    run = study.open_run(job.id)
    _sql(study, "UPDATE revisions SET status = 'accepted'")
    _sql(study, "UPDATE jobs SET status = 'accepted'")
    with pytest.raises(ConflictError) as caught:
        study.services.runs.start(run.id)
    assert caught.value.facts["word"] == CONSENT_NOT_PROVED


def test_vote_row_copied_to_another_member_does_not_count(study):
    job = study.make_job()
    study.submit(job.id)
    study.vote(job.id, "ben")
    _sql(study, "UPDATE votes SET member_id = :lea WHERE member_id = :ben", lea=study.id("lea"), ben=study.id("ben"))
    assert study.show(job.id).status is JobStatus.UNDER_REVIEW
    study.vote(job.id, "ben")
    assert study.show(job.id).status is JobStatus.UNDER_REVIEW


def test_vote_rows_of_another_job_do_not_count(study):
    accepted, job = study.accepted_job(), study.make_job(name="Other")
    study.submit(job.id)
    run = study.open_run(job.id)
    _sql(study, "DELETE FROM votes WHERE job_id = :job", job=job.id)
    _sql(study, "UPDATE votes SET job_id = :job WHERE job_id = :accepted", job=job.id, accepted=accepted.id)
    _sql(study, "UPDATE revisions SET status = 'accepted'")
    with pytest.raises(ConflictError):
        study.services.runs.start(run.id)


def test_rejection_turned_into_an_approval_does_not_count(study):
    from opaque_jobs.domain.review import Decision

    job = study.make_job()
    study.submit(job.id)
    run = study.open_run(job.id)
    study.vote(job.id, "ben")
    study.vote(job.id, "lea", Decision.REJECT)
    _sql(study, "UPDATE votes SET decision = 'approve'")
    _sql(study, "UPDATE revisions SET status = 'accepted'")
    with pytest.raises(ConflictError) as caught:
        study.services.runs.start(run.id)
    assert caught.value.facts["word"] == CONSENT_NOT_PROVED


def test_deleted_withdrawal_leaves_the_brokers_but_a_present_one_stops_here(study):
    job = study.accepted_job()
    run = study.open_run(job.id)
    study.withdraw(job.id, "lea")
    _sql(study, "UPDATE revisions SET status = 'accepted'")
    with pytest.raises(ConflictError) as caught:
        study.services.runs.start(run.id)
    assert caught.value.facts["word"] == CONSENT_NOT_PROVED


def test_changed_code_in_a_revision_does_not_start(study):
    job = study.accepted_job()
    run = study.open_run(job.id)
    spec = study.spec(job.id).to_bytes()
    _sql(study, "UPDATE revisions SET spec = :spec", spec=spec.replace(b"count(*)", b"max(id) "))
    with pytest.raises(ConflictError) as caught:
        study.services.runs.start(run.id)
    assert caught.value.facts["word"] == CONSENT_NOT_PROVED


def test_changed_member_list_does_not_start(study):
    job = study.accepted_job()
    run = study.open_run(job.id)
    body = study.services.workspaces.show(study.workspace_id, actor=study.id("anna")).roster.to_bytes()
    _sql(
        study,
        "UPDATE rosters SET body = :body",
        body=body.replace(study.people["lea"].entry.public_key.encode(), study.people["mallory"].entry.public_key.encode()),
    )
    with pytest.raises(OpaqueJobsError):
        study.services.runs.start(run.id)


def test_changed_manifest_is_not_pinned(study):
    job = study.make_job()
    envelope = study.services.datasets.show("ds-findings", actor=study.id("lea")).versions[0].envelope
    _sql(study, "UPDATE dataset_versions SET envelope = :envelope WHERE dataset_id = 'ds-patients'", envelope=envelope)
    with pytest.raises(ConflictError):
        study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))


def test_words_outside_the_closed_lists_are_refused_by_the_database(study):
    study.accepted_job()
    for statement in (
        "UPDATE revisions SET status = 'approved'",
        "UPDATE jobs SET status = 'x'",
        "UPDATE votes SET decision = 'maybe'",
    ):
        with pytest.raises(ConflictError):
            _sql(study, statement)


def test_brokers_are_told_every_list_before_but_no_row_of_nonsense(study):
    study.change_members("anna", "lea")
    study.change_members("anna", "ben", "lea")

    def epochs():
        told = study.services.workspaces.broker_push(study.workspace_id, actor=study.id("anna")).earlier
        assert all(roster_refusals(parse_roster(body), signed) == [] for body, signed in told)
        return [parse_roster(body).epoch for body, _ in told]

    assert epochs() == [1, 2]
    _sql(study, "UPDATE rosters SET body = :body WHERE epoch = 2", body=b"{}")
    assert epochs() == [1]
    _sql(study, "DELETE FROM acceptances WHERE member_id = :ben", ben=study.id("ben"))
    assert epochs() == []
