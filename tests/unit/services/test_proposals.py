"""Member lists that wait for signatures: who may take one back, and what is left when they did."""

import pytest

from opaque_jobs.domain.lifecycle import JobStatus, WorkspaceStatus
from opaque_jobs.errors import ConflictError, DeniedError, NotFoundError


@pytest.mark.parametrize("who", ["anna", "lea"])
def test_pending_workspace_taken_back_is_over_and_frees_its_name(cast, who):
    proposal = cast.propose_workspace("anna", "lea")
    cast.accept(proposal, "anna")
    view = cast.services.workspaces.cancel(proposal.workspace_id, actor=cast.id(who))
    assert (view.status, view.proposal, view.members) == (WorkspaceStatus.ARCHIVED, None, ())
    assert cast.services.workspaces.list(actor=cast.id("anna"), archived=True) == []
    again = cast.propose_workspace("anna", "ben")
    assert cast.accept(again, "anna").status is WorkspaceStatus.PENDING


def test_pending_workspace_taken_back_cannot_come_into_force(cast):
    proposal = cast.propose_workspace("anna", "lea")
    cast.services.workspaces.cancel(proposal.workspace_id, actor=cast.id("anna"))
    for name in ("anna", "lea"):
        with pytest.raises(ConflictError):
            cast.accept(proposal, name)
        with pytest.raises(NotFoundError):
            cast.services.workspaces.unarchive(proposal.workspace_id, actor=cast.id(name))
        with pytest.raises(NotFoundError):
            cast.services.workspaces.show(proposal.workspace_id, actor=cast.id(name))


def test_pending_workspace_is_unknown_to_those_it_does_not_name(cast):
    proposal = cast.propose_workspace("anna", "lea")
    with pytest.raises(NotFoundError):
        cast.services.workspaces.cancel(proposal.workspace_id, actor=cast.id("mallory"))
    assert cast.services.workspaces.show(proposal.workspace_id, actor=cast.id("lea")).proposal is not None


def test_pending_workspace_that_is_to_be_archived_says_what_it_waits_for(cast):
    proposal = cast.propose_workspace("anna", "lea")
    with pytest.raises(ConflictError) as caught:
        cast.services.workspaces.archive(proposal.workspace_id, actor=cast.id("anna"))
    assert "workspace cancel" in caught.value.hint


def propose(cast, who, *names):
    return cast.services.workspaces.propose_change(
        actor=cast.id(who), workspace_id=cast.workspace_id, member_ids=[cast.id(each) for each in names]
    )


@pytest.mark.parametrize("who", ["anna", "lea", "mallory"])
def test_change_taken_back_leaves_the_list_in_force_and_its_consents(study, who):
    job = study.make_job()
    study.submit(job.id)
    proposal = propose(study, "anna", "anna", "lea", "mallory")
    view = study.services.workspaces.cancel(study.workspace_id, actor=study.id(who))
    assert (view.status, view.proposal, view.roster.epoch) == (WorkspaceStatus.ACTIVE, None, 1)
    assert study.show(job.id).status is JobStatus.UNDER_REVIEW
    with pytest.raises(ConflictError):
        study.accept(proposal, "anna")


def test_change_cannot_be_stopped_by_a_member_whom_it_leaves_out(study):
    propose(study, "anna", "anna", "lea")
    with pytest.raises(DeniedError):
        study.services.workspaces.cancel(study.workspace_id, actor=study.id("ben"))
    assert study.services.workspaces.show(study.workspace_id, actor=study.id("anna")).proposal is not None


def test_change_can_be_taken_back_by_its_proposer_whom_it_leaves_out(study):
    propose(study, "ben", "anna", "lea")
    assert study.services.workspaces.cancel(study.workspace_id, actor=study.id("ben")).proposal is None


def test_change_replaced_by_another_members_is_the_others_to_take_back(study):
    propose(study, "ben", "anna", "lea")
    propose(study, "anna", "anna", "lea", "mallory")
    with pytest.raises(DeniedError):
        study.services.workspaces.cancel(study.workspace_id, actor=study.id("ben"))


def test_workspace_without_a_waiting_list_has_nothing_to_take_back(study):
    with pytest.raises(ConflictError):
        study.services.workspaces.cancel(study.workspace_id, actor=study.id("anna"))


def test_invited_member_learns_that_others_have_yet_to_sign(study):
    propose(study, "anna", "anna", "ben", "lea", "mallory")
    with pytest.raises(ConflictError, match="not every member has accepted"):
        study.services.jobs.list(actor=study.id("mallory"), workspace_id=study.workspace_id)
