"""Approval groups against a tally written another way, for any groups, owners, approvals, duplicates and strangers."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.document import from_bytes
from opaque_jobs.domain.review import demands, rule_refusals
from opaque_jobs.domain.workspace import Roster
from tests.world import Member, World

WORLD = World()
WORLD.hospital.members.append(Member("member-dora", "org-hospital"))
WORLD.laboratory.members.append(Member("member-emil", "org-laboratory"))
PEOPLE = WORLD.members
IDS = [member.id for member in PEOPLE]
KEYS = {member.id: member.entry.key_id for member in PEOPLE}
PLAIN = WORLD.make_roster()


@st.composite
def groups(draw):
    names = draw(st.lists(st.sampled_from(["A", "B", "C", "D"]), min_size=1, max_size=4, unique=True))
    made = []
    for name in sorted(names):
        members = sorted(draw(st.sets(st.sampled_from(IDS), min_size=1)))
        made.append(ApprovalGroup(name=name, threshold=draw(st.integers(1, len(members))), member_ids=tuple(members)))
    return tuple(made)


APPROVALS = st.lists(st.sampled_from([*IDS, "stranger"]), max_size=8)
OWNERS = st.sampled_from([(0,), (1,), (0, 1)])


def refusals(roster, owners, approving):
    uses = tuple(WORLD.organisations[number].use() for number in owners)
    spec = replace(WORLD.make_spec(roster), datasets=uses)
    return rule_refusals(roster, spec, [KEYS.get(each, "sha256:" + "0" * 64) for each in approving])


@settings(deadline=None)
@given(groups(), OWNERS, APPROVALS)
def test_groups_hold_exactly_when_each_group_the_author_and_each_owner_are_there(chosen, owners, approving):
    roster = replace(PLAIN, approval_groups=chosen)
    people = set(approving)
    enough = (
        "stranger" not in people
        and WORLD.anna.id in people
        and all(sum(member in people for member in group.member_ids) >= group.threshold for group in chosen)
        and all(any(member.id in people for member in WORLD.organisations[number].members) for number in owners)
    )
    assert (refusals(roster, owners, approving) == []) is enough


@settings(deadline=None)
@given(groups(), OWNERS, APPROVALS)
def test_duplicates_and_order_of_approvals_change_nothing(chosen, owners, approving):
    roster = replace(PLAIN, approval_groups=chosen)
    once = refusals(roster, owners, sorted(set(approving)))
    assert refusals(roster, owners, [*approving, *reversed(approving)]) == once


@settings(deadline=None)
@given(groups(), OWNERS)
def test_everybodys_approval_is_always_enough(chosen, owners):
    assert refusals(replace(PLAIN, approval_groups=chosen), owners, IDS) == []


@settings(deadline=None)
@given(OWNERS, APPROVALS)
def test_without_groups_only_exactly_everybody_is_enough(owners, approving):
    assert (refusals(PLAIN, owners, approving) == []) is (set(approving) == set(IDS))


@settings(deadline=None)
@given(groups(), st.sets(st.sampled_from(IDS)))
def test_what_is_still_needed_is_never_more_than_who_could_give_it(chosen, approving):
    roster = replace(PLAIN, approval_groups=chosen)
    for each in demands(roster, WORLD.make_spec(roster)):
        missing = each.missing(frozenset(approving))
        assert 0 <= missing <= len(each.member_ids - approving)


@settings(deadline=None)
@given(groups())
def test_roster_with_groups_comes_back_from_its_bytes(chosen):
    roster = replace(PLAIN, approval_groups=chosen)
    assert from_bytes(Roster, roster.to_bytes(), what="roster") == roster
    assert roster.digest != PLAIN.digest
