"""Drafts: editing, pinning, comparing, deleting."""

from dataclasses import replace
from itertools import count

import pytest

from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.domain.job import Code, JobKind, Language, TemplateUse
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError, OpaqueJobsError
from opaque_jobs.services import DraftDataset

TERMS = RerunTerms(
    max_runs=3,
    not_before=None,
    not_after="2027-01-01T00:00:00+00:00",
    min_interval_s=0,
    schedule=None,
    variable_inputs=(),
)


def test_same_draft_gives_the_same_bytes_until_something_changes(study):
    job = study.make_job()
    jobs = study.services.jobs
    first = jobs.spec_for_submission(job.id, actor=study.id("anna")).to_bytes()
    study.clock.forward(days=1)
    assert jobs.spec_for_submission(job.id, actor=study.id("anna")).to_bytes() == first
    jobs.edit(actor=study.id("anna"), job_id=job.id, draft=replace(job.draft, description="changed"))
    assert jobs.spec_for_submission(job.id, actor=study.id("anna")).to_bytes() != first


def test_refreshed_data_set_changes_what_would_be_signed(study):
    job = study.make_job()
    before = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    manifest, folder = study.manifest("patients", "anna", version=2)
    study.services.datasets.add_version(
        actor=study.id("anna"), envelope=sign_manifest(manifest, study.people["anna"].key), storage=folder
    )
    after = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    assert (before.datasets[0].dataset_version, after.datasets[0].dataset_version) == (1, 2)


def test_edit_of_an_outdated_version_is_refused(study):
    job = study.make_job()
    study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft(description="one"), version=job.version)
    with pytest.raises(ConflictError):
        study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft(), version=job.version)
    assert study.show(job.id).draft.description == "one"


def test_edit_under_review_is_refused(study):
    job = study.make_job()
    study.submit(job.id)
    with pytest.raises(ConflictError):
        study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft())


@pytest.mark.parametrize("name", ["ben", "lea"])
def test_edit_by_another_member_is_denied(study, name):
    job = study.make_job()
    with pytest.raises(DeniedError):
        study.services.jobs.edit(actor=study.id(name), job_id=job.id, draft=study.draft())


@pytest.mark.parametrize("name", ["ben", "lea"])
def test_everything_that_is_the_authors_is_denied_to_other_members(study, name):
    job, actor = study.make_job(), study.id(name)
    study.submit(job.id)
    jobs, reviews = study.services.jobs, study.services.reviews
    calls = [
        lambda: reviews.cancel_review(actor=actor, job_id=job.id, withdrawal=b"{}"),
        lambda: jobs.revise(actor=actor, job_id=job.id),
        lambda: jobs.archive(job.id, actor=actor),
        lambda: jobs.unarchive(job.id, actor=actor),
        lambda: jobs.delete(job.id, actor=actor),
    ]
    for call in calls:
        with pytest.raises(DeniedError):
            call()
    assert study.show(job.id).status == "under_review"


def test_job_is_unknown_to_somebody_outside_the_workspace(study):
    job = study.make_job()
    for call in (study.services.jobs.show, study.services.jobs.diff, study.services.runs.history, study.services.reviews.status):
        with pytest.raises(NotFoundError):
            call(job.id, actor=study.id("mallory"))
    assert study.services.jobs.list(actor=study.id("mallory")) == []


def test_draft_without_code_cannot_be_submitted(study):
    job = study.make_job(code=None)
    with pytest.raises(InvalidInputError):
        study.submit(job.id)


def test_draft_that_reads_what_is_not_shared_cannot_be_submitted(study):
    job = study.make_job()
    study.share("ds-findings", "lea", back=True)
    with pytest.raises(ConflictError) as caught:
        study.submit(job.id)
    assert caught.value.facts["alias"] == "findings"


def test_draft_with_an_unknown_column_cannot_be_submitted(study):
    uses = (DraftDataset(alias="patients", dataset_id="ds-patients", columns=("id", "nothing")),)
    job = study.make_job(datasets=uses)
    with pytest.raises(InvalidInputError):
        study.submit(job.id)


def test_columns_that_are_named_are_the_only_ones_in_the_spec(study):
    job = study.make_job(datasets=(DraftDataset(alias="p", dataset_id="ds-patients", columns=("id",)),))
    (use,) = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna")).datasets
    assert use.columns == ("id",)


def test_code_that_is_not_what_its_template_gives_is_refused(study):
    use = TemplateUse(name="overlap-count", version="1.0.0", digest="sha256:" + "0" * 64, parameters={})
    job = study.make_job(kind=JobKind.NO_CODE, template=use, code=Code(language=Language.SQL, text="SELECT * FROM patients"))
    with pytest.raises(OpaqueJobsError):
        study.submit(job.id)
    assert study.show(job.id).revisions == ()


def test_diff_shows_code_and_everything_else_since_the_last_acceptance(study):
    job = study.accepted_job()
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    study.services.jobs.edit(
        actor=study.id("anna"),
        job_id=job.id,
        draft=study.draft(code=Code(language=Language.SQL, text="SELECT 1 AS n"), rerun_terms=TERMS),
    )
    text = study.services.jobs.diff(job.id, actor=study.id("lea")).text
    assert "--- code, revision 1" in text
    assert "+SELECT 1 AS n" in text
    assert '-    "max_runs": 1,' in text
    assert '+    "max_runs": 3,' in text


def test_diff_without_an_accepted_revision_shows_all_as_added(study):
    job = study.make_job()
    lines = study.services.jobs.diff(job.id, actor=study.id("ben")).text.splitlines()
    assert "--- code, nothing accepted" in lines
    assert not [line for line in lines if line.startswith("-") and not line.startswith("---")]


def test_job_with_a_run_cannot_be_deleted(study):
    job = study.make_job()
    study.passed_test(job.id)
    with pytest.raises(ConflictError):
        study.services.jobs.delete(job.id, actor=study.id("anna"))


def test_job_without_a_run_is_deleted_by_its_author_only(study):
    job = study.accepted_job()
    with pytest.raises(DeniedError):
        study.services.jobs.delete(job.id, actor=study.id("ben"))
    study.services.jobs.delete(job.id, actor=study.id("anna"))
    with pytest.raises(NotFoundError):
        study.show(job.id)


def test_archived_job_is_hidden_and_does_not_run(study):
    job = study.accepted_job()
    study.services.jobs.archive(job.id, actor=study.id("anna"))
    assert study.services.jobs.list(actor=study.id("lea")) == []
    assert len(study.services.jobs.list(actor=study.id("lea"), archived=True)) == 1
    assert study.services.deployments.gate_states([f"{job.id}@1"]) == {f"{job.id}@1": "archived"}
    assert study.services.deployments.deployable() == []
    study.services.jobs.unarchive(job.id, actor=study.id("anna"))
    assert study.services.deployments.gate_states([f"{job.id}@1"]) == {f"{job.id}@1": "open"}


def test_rerun_label_follows_the_status(study):
    job = study.make_job(rerun_terms=TERMS)
    labels = [study.show(job.id).rerun_label]
    study.submit(job.id)
    labels.append(study.show(job.id).rerun_label)
    study.vote(job.id, "ben")
    study.vote(job.id, "lea")
    labels.append(study.show(job.id).rerun_label)
    assert labels == ["Request approval for reruns", "Awaiting approval", "Approved for rerun"]


def test_jobs_are_listed_newest_first(study):
    names = []
    for number in count():
        study.clock.forward(minutes=1)
        names.append(study.make_job(name=f"Job {number}").draft.name)
        if number == 2:
            break
    assert [job.draft.name for job in study.services.jobs.list(actor=study.id("lea"))] == names[::-1]


def test_rerun_terms_that_are_over_are_refused_when_drafted_edited_and_submitted(study):
    jobs, anna, over = study.services.jobs, study.id("anna"), replace(TERMS, not_after="2026-02-28T00:00:00+00:00")
    with pytest.raises(InvalidInputError, match="over already"):
        study.make_job(rerun_terms=over)
    assert jobs.list(actor=anna) == []
    job = study.make_job(rerun_terms=TERMS)
    with pytest.raises(InvalidInputError, match="over already"):
        jobs.edit(actor=anna, job_id=job.id, draft=study.draft(rerun_terms=over))
    assert study.show(job.id).draft.rerun_terms == TERMS
    study.clock.forward(days=365)
    with pytest.raises(InvalidInputError, match="over already"):
        study.submit(job.id)


@pytest.mark.parametrize("cron", ["* * * *", "61 * * * *", "0 0 30 2 *"])
def test_draft_with_a_schedule_that_airflow_cannot_follow_is_refused(study, cron):
    terms = replace(TERMS, schedule=cron)
    with pytest.raises(InvalidInputError, match="schedule"):
        study.make_job(rerun_terms=terms)
    job = study.make_job()
    with pytest.raises(InvalidInputError, match="schedule"):
        study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft(rerun_terms=terms))
