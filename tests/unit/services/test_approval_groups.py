"""Workspaces whose members chose approval groups: the epoch, the tally, who is still needed, rejections."""

import pytest

from opaque_jobs.crypto.consent import sign_vote, sign_withdrawal, verify_withdrawal
from opaque_jobs.domain.approval_rule import ApprovalGroup, ApprovalRule
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError, InvalidInputError, TrustError


def make_group(study, threshold, *names, name="Board"):
    return ApprovalGroup(name=name, threshold=threshold, member_ids=tuple(sorted(study.id(each) for each in names)))


def choose(study, *groups, members=("anna", "ben", "lea")):
    proposal = study.services.workspaces.propose_change(
        actor=study.id("anna"), workspace_id=study.workspace_id, approval_groups=groups
    )
    for name in members:
        view = study.accept(proposal, name)
    return view


@pytest.fixture
def board(study):
    """Two of the three; both sides' data are read."""
    choose(study, make_group(study, 2, "anna", "ben", "lea"))
    return study


def reject(cast, job_id, name, *, by=None, withdrawal=True):
    spec, person, other = cast.spec(job_id), cast.people[name], cast.people[by or name]
    comment = "not like this"
    envelope = sign_vote(
        spec, person.entry, person.key, decision=Decision.REJECT, comment=comment, seen=cast.seen(), now=cast.clock()
    )
    extra = sign_withdrawal(spec, other.entry, other.key, now=cast.clock()) if withdrawal else None
    return cast.services.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=extra)


def test_workspace_is_unanimous_unless_its_members_choose_groups(study):
    view = study.services.workspaces.show(study.workspace_id, actor=study.id("anna"))
    assert view.roster.approval_rule is ApprovalRule.UNANIMOUS
    view = choose(study, make_group(study, 2, "anna", "ben", "lea"))
    assert (view.roster.approval_rule, view.roster.epoch) == (ApprovalRule.GROUPS, 2)


def test_groups_count_only_once_every_member_has_accepted_them(study):
    view = choose(study, make_group(study, 1, "anna"), members=("anna", "ben"))
    assert (view.roster.epoch, view.roster.approval_rule) == (1, ApprovalRule.UNANIMOUS)


def test_choosing_groups_supersedes_what_was_accepted_before(study):
    job = study.accepted_job()
    choose(study, make_group(study, 1, "anna"))
    assert study.show(job.id).status is JobStatus.SUPERSEDED


def test_group_reached_accepts_the_job_without_the_others(board):
    job = board.make_job()
    review = board.submit(job.id)
    assert [(each.name, each.missing) for each in review.still_needed] == [("Board", 1), ("laboratory, whose data it reads", 1)]
    assert set(review.waiting_for) == {board.id("ben"), board.id("lea")}
    review = board.vote(job.id, "lea")
    assert (review.status, review.still_needed, review.waiting_for) == (JobStatus.ACCEPTED, (), ())
    with pytest.raises(ConflictError):
        board.vote(job.id, "ben")


def test_group_reached_without_a_data_owner_waits_for_the_owner(board):
    job = board.make_job()
    board.submit(job.id)
    review = board.vote(job.id, "ben")
    assert review.status is JobStatus.UNDER_REVIEW
    assert [(each.name, each.missing) for each in review.still_needed] == [("laboratory, whose data it reads", 1)]
    assert review.waiting_for == (board.id("lea"),)
    assert board.vote(job.id, "lea").status is JobStatus.ACCEPTED


def test_author_alone_is_enough_where_the_groups_and_the_data_are_theirs(study):
    choose(study, make_group(study, 1, "anna", "ben"))
    dataset = {"patients": study.dataset_ids["patients"]}
    study.dataset_ids = dataset
    assert study.submit(study.make_job().id).status is JobStatus.ACCEPTED


def test_rejection_by_one_member_rejects_and_reaches_the_brokers(board):
    job = board.make_job()
    board.submit(job.id)
    review = reject(board, job.id, "ben")
    assert review.status is JobStatus.REJECTED
    again = board.services.workspaces.broker_push(board.workspace_id, actor=board.id("anna"))
    (envelope,) = again.withdrawals
    roster = board.services.workspaces.show(board.workspace_id, actor=board.id("anna")).roster
    assert verify_withdrawal(envelope, job_digest=review.digest, roster=roster).reviewer_id == board.id("ben")


def test_rejection_without_a_withdrawal_or_with_somebody_elses_is_refused(board):
    job = board.make_job()
    board.submit(job.id)
    with pytest.raises(InvalidInputError):
        reject(board, job.id, "ben", withdrawal=False)
    with pytest.raises(TrustError):
        reject(board, job.id, "ben", by="lea")
    assert board.show(job.id).status is JobStatus.UNDER_REVIEW


def test_rejection_in_a_unanimous_workspace_brings_a_withdrawal_too(study):
    job = study.make_job()
    study.submit(job.id)
    with pytest.raises(InvalidInputError):
        reject(study, job.id, "ben", withdrawal=False)
    assert reject(study, job.id, "ben").status is JobStatus.REJECTED


def test_withdrawal_of_a_member_who_was_not_needed_ends_the_job(board):
    job = board.make_job()
    board.submit(job.id)
    board.vote(job.id, "lea")
    assert board.withdraw(job.id, "ben").status is JobStatus.WITHDRAWN


def test_group_with_somebody_who_leaves_must_be_given_anew(board):
    with pytest.raises(InvalidInputError, match="not a member"):
        board.change_members("anna", "lea")


def test_going_back_to_unanimous_asks_everybody_again(board):
    choose(board)
    job = board.make_job()
    board.submit(job.id)
    assert board.vote(job.id, "lea").status is JobStatus.UNDER_REVIEW
    assert board.vote(job.id, "ben").status is JobStatus.ACCEPTED


def test_same_groups_again_are_no_change(board):
    with pytest.raises(ConflictError):
        choose(board, make_group(board, 2, "anna", "ben", "lea"))


def test_data_of_an_owner_in_no_workspace_group_still_needs_the_owner(study):
    choose(study, make_group(study, 1, "anna"), make_group(study, 1, "ben", name="Second"))
    job = study.make_job()
    study.submit(job.id)
    assert study.vote(job.id, "ben").status is JobStatus.UNDER_REVIEW
    assert study.vote(job.id, "lea").status is JobStatus.ACCEPTED
