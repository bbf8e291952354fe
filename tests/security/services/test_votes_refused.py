"""Votes, withdrawals and acceptances that are not what they have to be: refused, and without any effect."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.consent import sign_acceptance, sign_vote, sign_withdrawal
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError, NotFoundError, OpaqueJobsError, TrustError


@pytest.fixture
def review(study):
    job = study.make_job()
    study.submit(job.id)
    study.job_id = job.id
    return study


def _state(cast):
    view = cast.show(cast.job_id)
    votes = cast.services.reviews.status(cast.job_id, actor=cast.id("anna")).votes
    return view.status, len(votes), view.accepted_revision


def _refused(cast, envelope, *, error=TrustError):
    before = _state(cast)
    with pytest.raises(error):
        cast.services.reviews.vote(job_id=cast.job_id, envelope=envelope)
    assert _state(cast) == before


def test_vote_for_another_job_is_refused(review):
    other = review.make_job(name="Other")
    review.submit(other.id)
    _refused(review, review.sign(review.spec(other.id), "ben"))


def test_vote_for_an_earlier_revision_is_refused(review):
    stale = review.sign(review.spec(review.job_id), "ben")
    review.cancel_review(review.job_id)
    review.services.jobs.edit(actor=review.id("anna"), job_id=review.job_id, draft=review.draft(description="worse"))
    review.submit(review.job_id)
    _refused(review, stale)


def test_vote_of_an_earlier_epoch_is_refused(review):
    stale = review.sign(review.spec(review.job_id), "ben")
    review.change_members("anna", "ben", "lea", "mallory")
    review.services.jobs.revise(actor=review.id("anna"), job_id=review.job_id)
    review.submit(review.job_id)
    _refused(review, stale)


def test_vote_on_a_superseded_revision_is_refused(review):
    stale = review.sign(review.spec(review.job_id), "ben")
    review.change_members("anna", "ben", "lea", "mallory")
    _refused(review, stale, error=ConflictError)


def _said(review):
    return {"decision": Decision.APPROVE, "comment": None, "seen": review.seen(), "now": review.clock()}


def test_vote_with_a_key_that_is_not_the_members_is_refused(review):
    spec, ben = review.spec(review.job_id), review.people["ben"].entry
    stranger = SigningKey.generate()
    forged = replace(ben, public_key=stranger.public.text)
    _refused(
        review,
        sign_vote(spec, forged, stranger, **_said(review)),
    )


def test_vote_in_another_members_name_is_refused(review):
    spec, lea, ben = review.spec(review.job_id), review.people["lea"].entry, review.people["ben"]
    disguised = replace(lea, public_key=ben.entry.public_key)
    _refused(
        review,
        sign_vote(spec, disguised, ben.key, **_said(review)),
    )


def test_vote_by_a_registered_stranger_is_refused(review):
    _refused(review, review.sign(review.spec(review.job_id), "mallory"))


@pytest.mark.parametrize("change", [lambda data: data[:-20] + b"A" + data[-19:], lambda data: data + b" ", lambda _data: b"{}"])
def test_vote_that_was_changed_is_refused(review, change):
    envelope = review.sign(review.spec(review.job_id), "ben")
    _refused(review, change(envelope), error=OpaqueJobsError)


def test_withdrawal_is_not_taken_for_a_vote_nor_a_vote_for_a_withdrawal(review):
    spec, ben = review.spec(review.job_id), review.people["ben"]
    withdrawal = sign_withdrawal(spec, ben.entry, ben.key, now=review.clock())
    _refused(review, withdrawal)
    before = _state(review)
    with pytest.raises(TrustError):
        review.services.reviews.withdraw(job_id=review.job_id, envelope=review.sign(spec, "ben"))
    assert _state(review) == before


def test_vote_replayed_by_its_giver_counts_once(review):
    envelope = review.sign(review.spec(review.job_id), "ben")
    review.services.reviews.vote(job_id=review.job_id, envelope=envelope)
    _refused(review, envelope, error=ConflictError)


def test_withdrawal_by_a_stranger_is_refused(review):
    spec, mallory = review.spec(review.job_id), review.people["mallory"]
    envelope = sign_withdrawal(spec, mallory.entry, mallory.key, now=review.clock())
    with pytest.raises(TrustError):
        review.services.reviews.withdraw(job_id=review.job_id, envelope=envelope)
    assert _state(review)[0] is JobStatus.UNDER_REVIEW


def test_withdrawal_for_another_job_is_refused(review):
    other = review.make_job(name="Other")
    review.submit(other.id)
    ben = review.people["ben"]
    envelope = sign_withdrawal(review.spec(other.id), ben.entry, ben.key, now=review.clock())
    with pytest.raises(TrustError):
        review.services.reviews.withdraw(job_id=review.job_id, envelope=envelope)
    assert _state(review)[0] is JobStatus.UNDER_REVIEW


def test_submission_signed_by_another_member_is_refused(study):
    job = study.make_job()
    spec = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    with pytest.raises(TrustError):
        study.services.reviews.submit(job_id=job.id, spec=spec.to_bytes(), envelope=study.sign(spec, "ben"), no_test_reason="why")
    assert study.show(job.id).status is JobStatus.DRAFT


def test_submission_that_rejects_is_refused(study):
    job = study.make_job()
    spec = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    envelope = study.sign(spec, "anna", Decision.REJECT, "no")
    with pytest.raises(TrustError):
        study.services.reviews.submit(job_id=job.id, spec=spec.to_bytes(), envelope=envelope, no_test_reason="why")


@pytest.mark.parametrize("field", ["author_id", "measurement", "description", "epoch"])
def test_submission_of_other_bytes_than_the_drafts_is_refused(study, field):
    job = study.make_job()
    spec = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    values = {"author_id": study.id("ben"), "measurement": "sha256:" + "0" * 64, "description": "x", "epoch": 2}
    forged = replace(spec, **{field: values[field]})
    with pytest.raises(OpaqueJobsError):
        study.services.reviews.submit(
            job_id=job.id, spec=forged.to_bytes(), envelope=study.sign(forged, "anna"), no_test_reason="why"
        )
    assert study.show(job.id).status is JobStatus.DRAFT


def test_acceptance_of_another_member_list_is_refused(cast):
    first = cast.propose_workspace("anna", "ben")
    second = cast.propose_workspace("anna", "ben", "lea", name="Other")
    ben = cast.people["ben"]
    envelope = sign_acceptance(second.roster, ben.entry, ben.key, now=cast.clock())
    with pytest.raises(TrustError):
        cast.services.workspaces.accept(workspace_id=first.workspace_id, envelope=envelope)
    assert cast.services.workspaces.show(first.workspace_id, actor=cast.id("ben")).proposal.waiting_for == (
        cast.id("anna"),
        cast.id("ben"),
    )


def test_workspace_is_unknown_to_those_who_are_not_in_it(study):
    for call in (study.services.workspaces.show, study.services.workspaces.archive, study.services.workspaces.broker_push):
        with pytest.raises(NotFoundError):
            call(study.workspace_id, actor=study.id("mallory"))
    with pytest.raises(NotFoundError):
        study.services.workspaces.propose_change(
            actor=study.id("mallory"), workspace_id=study.workspace_id, member_ids=[study.id("mallory")]
        )
