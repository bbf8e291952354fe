"""Submitting: what has to come with it, and that nothing happens without."""

from datetime import timedelta

import pytest

from opaque_jobs.domain.lifecycle import JobStatus, RunEvent
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError, InvalidInputError, OpaqueJobsError


def _untouched(cast, job_id):
    view = cast.show(job_id)
    return (view.status, view.revisions, view.next_revision) == (JobStatus.DRAFT, (), 1)


@pytest.mark.parametrize(
    "over",
    [
        {"no_test_reason": None},
        {"no_test_reason": "  "},
        {"no_test_reason": "r" * 501},
        {"test_run_id": "run-none"},
    ],
)
def test_submission_without_test_or_reason_is_refused(study, over):
    job = study.make_job()
    with pytest.raises(OpaqueJobsError):
        study.submit(job.id, **over)
    assert _untouched(study, job.id)


def test_submission_with_both_test_and_reason_is_refused(study):
    job = study.make_job()
    with pytest.raises(InvalidInputError):
        study.submit(job.id, test_run_id=study.passed_test(job.id), no_test_reason="why")


def test_test_run_of_an_earlier_content_does_not_count(study):
    job = study.make_job()
    run_id = study.passed_test(job.id)
    study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft(description="edited since"))
    with pytest.raises(InvalidInputError):
        study.submit(job.id, test_run_id=run_id)
    assert _untouched(study, job.id)


def test_failed_test_run_does_not_count(study):
    job = study.make_job()
    run = study.services.runs.start_test(actor=study.id("anna"), job_id=job.id, inputs={})
    study.finish(run.id, RunEvent.FAIL)
    with pytest.raises(InvalidInputError):
        study.submit(job.id, test_run_id=run.id)


def test_test_run_of_another_job_does_not_count(study):
    other = study.passed_test(study.make_job().id)
    job = study.make_job()
    with pytest.raises(InvalidInputError):
        study.submit(job.id, test_run_id=other)


def test_deadline_in_the_past_is_refused(study):
    job = study.make_job()
    with pytest.raises(InvalidInputError):
        study.submit(job.id, deadline=study.clock() - timedelta(seconds=1))


def test_spec_that_is_no_longer_what_the_draft_gives_is_refused(study):
    job = study.make_job()
    spec = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=study.draft(description="edited since"))
    with pytest.raises(ConflictError):
        study.services.reviews.submit(
            job_id=job.id, spec=spec.to_bytes(), envelope=study.sign(spec, "anna"), no_test_reason="why"
        )
    assert _untouched(study, job.id)


def test_rejection_without_comment_is_refused(study):
    job = study.make_job()
    study.submit(job.id)
    for comment in (None, "", "  "):
        envelope = study.sign(study.spec(job.id), "ben", Decision.REJECT, comment)
        with pytest.raises(InvalidInputError):
            study.services.reviews.vote(job_id=job.id, envelope=envelope, comment=comment)
    assert study.show(job.id).status is JobStatus.UNDER_REVIEW


def test_other_comment_than_was_signed_is_refused(study):
    job = study.make_job()
    study.submit(job.id)
    envelope = study.sign(study.spec(job.id), "ben", Decision.REJECT, "mine")
    for comment in ("another", None):
        with pytest.raises(InvalidInputError):
            study.services.reviews.vote(job_id=job.id, envelope=envelope, comment=comment)
    assert study.show(job.id).status is JobStatus.UNDER_REVIEW


def test_review_tells_who_has_voted_and_what_was_said(study):
    job = study.make_job()
    study.submit(job.id)
    study.vote(job.id, "lea", comment="fine with me")
    review = study.services.reviews.status(job.id, actor=study.id("ben"))
    assert [(vote.member_id, vote.comment) for vote in review.votes] == [
        (study.id("anna"), None),
        (study.id("lea"), "fine with me"),
    ]
    assert review.waiting_for == (study.id("ben"),)


def test_review_of_a_job_that_was_never_submitted_says_so(study):
    job = study.make_job()
    with pytest.raises(ConflictError, match="not been submitted"):
        study.services.reviews.status(job.id, actor=study.id("lea"))
