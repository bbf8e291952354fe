"""One attack for each thing that a broker demands of a member list, each refused for its reason; lists that hold are taken."""

import pytest

from opaque_jobs.broker.policy import Granted
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from tests.support.release_attempt import OTHER_DIGEST, Attacks, Attempt, refused_for
from tests.world import Member, World

attack = Attacks()


@attack("roster-not-accepted-by-all")
def roster_that_one_member_has_not_accepted(a):
    roster = a.world.make_roster()
    accepted = a.world.acceptances(roster, [a.world.anna, a.world.ben])
    a.bundle_over["acceptances"] = tuple(each.decode() for each in accepted)


@attack("acceptance-invalid")
def roster_accepted_at_another_epoch(a):
    old = a.world.make_roster(name="Older")
    a.bundle_over["acceptances"] = tuple(each.decode() for each in a.world.acceptances(old))


@attack("roster-invalid")
def roster_that_does_not_parse(a):
    a.bundle_over["roster"] = "{}"


@attack(
    "roster-not-the-jobs", "acceptance-invalid", "approval-invalid", "not-unanimous", "own-members-not-pinned",
    "author-not-a-member",
)  # fmt: skip
def roster_of_a_private_workspace(a):
    eve = Member("member-eve", a.world.hospital.id)
    private = World()
    private.hospital.members[:] = [eve]
    private.organisations = [private.hospital]
    private.log = a.world.log
    a.bundle_over["roster"] = private.make_roster(organisations=(a.world.hospital.entry,)).to_bytes().decode()


@attack("own-members-not-pinned")
def whole_workspace_made_up_by_the_platform(a):
    true_members = tuple(member.entry for member in a.world.hospital.members)
    a.world.hospital.members[:] = [Member(member.id, member.organisation_id) for member in a.world.hospital.members]
    a.world.anna, a.world.ben = a.world.hospital.members
    a.known_over["members"] = true_members


@attack("own-members-not-pinned")
def own_member_with_a_key_that_was_never_pinned(a):
    a.known_over["members"] = (a.world.anna.entry, Member(a.world.ben.id, a.world.hospital.id).entry)


@attack("own-members-not-pinned")
def broker_that_pinned_nobody(a):
    a.known_over["members"] = ()


@attack("roster-names-another-broker")
def roster_with_another_deposit_key(a):
    a.known_over["deposit_key"] = SealingKey.generate().public.text


@attack("roster-names-another-broker")
def roster_with_another_signing_key(a):
    a.known_over["signing_key"] = SigningKey.generate().public.text


@attack("roster-outdated")
def roster_of_an_earlier_epoch(a):
    a.known_over["roster"] = a.world.next_roster(a.world.make_roster())


@attack("roster-conflict")
def another_roster_of_the_same_epoch(a):
    a.roster = a.world.next_roster(a.world.make_roster())
    a.known_over["roster"] = a.world.next_roster(a.world.make_roster(), name="Fork")


@attack("roster-conflict")
def next_roster_that_does_not_follow_the_known_one(a):
    a.roster = a.world.next_roster(a.world.make_roster(), previous=OTHER_DIGEST)
    a.known_over["roster"] = a.world.make_roster()


@attack("roster-of-another-workspace")
def roster_with_another_beginning(a):
    a.known_over["roster"] = a.world.make_roster(name="Another")


@attack("own-member-left-out")
def roster_that_leaves_a_colleague_out_behind_their_back(a):
    a.leave_ben_out()


@attack("own-member-left-out")
def roster_some_epochs_later_that_leaves_a_colleague_out(a):
    a.leave_ben_out()
    a.earlier.append(a.roster)
    a.roster = a.world.next_roster(a.roster)


@attack("own-member-left-out")
def roster_at_first_contact_that_leaves_a_colleague_of_the_first_one_out(a):
    a.leave_ben_out()
    a.earlier.append(a.known_over.pop("roster"))


@attack("own-member-left-out")
def roster_at_first_contact_that_leaves_a_colleague_of_one_in_between_out(a):
    a.leave_ben_out()
    first = a.world.make_roster()
    between = a.world.next_roster(first, members=a.known_over.pop("roster").members)
    a.earlier += [first, between]
    a.roster = a.world.next_roster(between)


@attack("roster-gap")
def roster_at_first_contact_of_which_nothing_before_is_known(a):
    a.roster = a.world.next_roster(a.world.make_roster())


@attack("roster-gap")
def roster_at_first_contact_that_calls_itself_the_first_ones_and_follows_none(a):
    first = a.world.make_roster()
    a.earlier.append(first)
    a.roster = a.world.next_roster(first, epoch=7, previous=OTHER_DIGEST)


@attack("roster-gap")
def roster_at_first_contact_that_jumps_over_epochs(a):
    first = a.world.make_roster()
    a.earlier.append(first)
    a.roster = a.world.next_roster(first, epoch=7)


@attack("roster-gap")
def roster_two_epochs_later_of_which_the_one_between_is_not_known(a):
    first = a.known_over["roster"] = a.world.make_roster()
    a.roster = a.world.next_roster(a.world.next_roster(first))


@attack("roster-conflict")
def roster_at_first_contact_that_follows_another_workspaces_first_one(a):
    first = a.world.make_roster(name="Another")
    a.earlier.append(first)
    a.roster = a.world.next_roster(first, genesis=a.world.make_roster().digest)


@attack("roster-conflict")
def roster_two_epochs_later_on_another_line_than_the_known_one(a):
    first = a.world.make_roster()
    a.known_over["roster"] = a.world.next_roster(first, name="Known")
    other = a.world.next_roster(first, name="Fork")
    a.earlier += [first, other]
    a.roster = a.world.next_roster(other)


@pytest.mark.parametrize(("function", "reasons"), attack.params)
def test_attack_is_refused_for_its_reason(function, reasons):
    refused_for(function, reasons)


def test_next_epoch_that_follows_the_known_one_is_granted():
    attempt = Attempt(World())
    first = attempt.world.make_roster()
    attempt.roster = attempt.world.next_roster(first)
    attempt.known_over["roster"] = first
    assert isinstance(attempt.decide(), Granted)


def test_roster_some_epochs_later_is_granted_over_those_in_between():
    attempt = Attempt(World())
    first = attempt.known_over["roster"] = attempt.world.make_roster()
    attempt.earlier.append(attempt.world.next_roster(first))
    attempt.roster = attempt.world.next_roster(attempt.earlier[-1])
    assert isinstance(attempt.decide(), Granted)


def test_roster_at_first_contact_is_granted_back_to_the_first_though_a_colleague_was_away_meanwhile():
    attempt = Attempt(World())
    world = attempt.world
    first = world.make_roster()
    without_ben = tuple(each for each in first.members if each.id != world.ben.id)
    attempt.earlier += [first, world.next_roster(first, members=without_ben)]
    attempt.roster = world.next_roster(attempt.earlier[-1])
    assert isinstance(attempt.decide(), Granted)


def test_roster_without_a_colleague_whom_the_organisation_let_go_is_taken():
    attempt = Attempt(World())
    attempt.leave_ben_out()
    attempt.known_over["members"] = (attempt.world.anna.entry,)
    assert isinstance(attempt.decide(), Granted)
