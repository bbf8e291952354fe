"""Approval groups at the broker: too few, the wrong people, the same one twice, or a data owner passed over; never released."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.policy import Granted, Refused
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.output_policy import LogKind
from opaque_jobs.domain.review import Decision
from tests.support.release_attempt import Attempt
from tests.world import Member, World


def make_group(name, threshold, *members):
    return ApprovalGroup(name=name, threshold=threshold, member_ids=tuple(sorted(member.id for member in members)))


class GroupAttempt(Attempt):
    """A workspace with groups; `approve` says who signs."""

    def choose(self, *groups):
        self.roster = self.world.make_roster(approval_groups=groups)

    def approve(self, *members):
        self.bundle_over["approvals"] = self.world.votes(self.spec(), members)


@pytest.fixture
def case():
    """Two of anna, ben and carl; the hospital's data and the laboratory's are read; anna is the author."""
    attempt = GroupAttempt(World())
    world = attempt.world
    attempt.choose(make_group("Board", 2, world.anna, world.ben, world.carl))
    return attempt


def test_groups_reached_with_author_and_owners_are_granted_without_the_third_member(case):
    case.approve(case.world.anna, case.world.carl)
    assert isinstance(case.decide(), Granted)


def test_groups_with_everybodys_approval_are_granted(case):
    assert isinstance(case.decide(), Granted)


def test_too_few_of_a_group_are_refused(case):
    case.choose(make_group("Board", 3, *case.world.members))
    case.approve(case.world.anna, case.world.carl)
    assert case.decide() == Refused(reasons=("group-below-threshold",))


def test_one_group_reached_does_not_stand_in_for_another(case):
    world = case.world
    case.choose(make_group("Laboratory", 1, world.carl), make_group("Physicians", 1, world.ben))
    case.approve(world.anna, world.carl)
    assert case.decide() == Refused(reasons=("group-below-threshold",))


def test_same_member_twice_counts_once(case):
    world = case.world
    case.choose(make_group("Board", 2, world.ben, world.carl))
    case.approve(world.anna, world.carl, world.carl)
    assert case.decide() == Refused(reasons=("group-below-threshold",))


def test_data_owner_without_an_approving_member_is_not_passed_over(case):
    case.approve(case.world.anna, case.world.ben)
    assert case.decide() == Refused(reasons=("data-owner-not-approving",))


def test_full_log_needs_an_approval_from_each_owner_of_what_is_read(case):
    policy = replace(case.world.make_spec().output_policy, log=LogKind.FULL)
    case.spec_over["output_policy"] = policy
    case.approve(case.world.anna, case.world.ben)
    assert case.decide() == Refused(reasons=("data-owner-not-approving",))


def test_approval_of_a_job_with_another_log_is_none_for_a_full_one(case):
    approved = case.world.make_spec()
    full = case.world.make_spec(output_policy=replace(approved.output_policy, log=LogKind.FULL))

    assert full.digest != approved.digest
    assert full.output_policy_digest != approved.output_policy_digest


def test_data_owner_without_any_member_is_not_passed_over(case):
    other = replace(case.world.laboratory.use(), organisation_id="org-elsewhere")
    case.spec_over["datasets"] = (case.world.hospital.use(), other)
    assert case.decide() == Refused(reasons=("data-owner-not-approving",))


def test_groups_without_the_author_are_refused(case):
    case.approve(case.world.ben, case.world.carl)
    assert case.decide() == Refused(reasons=("author-not-approving",))


def test_vote_of_a_stranger_adds_nothing_to_a_group(case):
    world = case.world
    case.choose(make_group("Board", 2, world.ben, world.carl))
    case.approve(world.anna, world.carl, Member(world.ben.id, world.hospital.id))
    assert set(case.decide().reasons) == {"approval-invalid", "group-below-threshold"}


def test_one_rejection_refuses_whatever_the_groups_reached(case):
    world = case.world
    case.approve(world.anna, world.carl)
    case.bundle_over["approvals"] += world.votes(case.spec(), [world.ben], decision=Decision.REJECT)
    assert case.decide() == Refused(reasons=("rejected",))


def test_withdrawal_of_somebody_who_was_not_needed_refuses(case):
    case.approve(case.world.anna, case.world.carl)
    case.bundle_over["withdrawals"] = (case.world.withdrawal(case.spec(), case.world.ben).decode(),)
    assert case.decide() == Refused(reasons=("consent-withdrawn",))


def test_groups_that_the_members_did_not_accept_are_refused(case):
    world = case.world
    chosen, case.roster = case.roster, world.make_roster()
    case.approve(world.anna, world.carl)
    case.bundle_over["roster"] = chosen.to_bytes().decode()
    assert {"acceptance-invalid", "approval-invalid", "roster-not-the-jobs"} <= set(case.decide().reasons)


def test_easier_groups_of_the_same_epoch_than_the_broker_knows_are_refused(case):
    world = case.world
    first = world.make_roster()
    case.known_over["roster"] = world.next_roster(first, approval_groups=case.roster.approval_groups)
    case.roster = world.next_roster(first, approval_groups=(make_group("Board", 1, world.anna),))
    case.approve(world.anna, world.carl)
    assert case.decide() == Refused(reasons=("roster-conflict",))
