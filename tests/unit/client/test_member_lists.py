"""A rotation signs a list that says nothing new but the own key: every other difference is named."""

from dataclasses import fields, replace

import pytest

from opaque_jobs.client.member_lists import beyond_own_key
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.workspace import Roster, RunPolicy
from tests.world import Member, World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def rotated(world: World, **over) -> tuple[Roster, Roster]:
    """The list that anna signed, and the next one, in which her key is another."""
    signed = world.make_roster()
    fresh = SigningKey.generate().public.text
    members = tuple(replace(each, public_key=fresh) if each.id == world.anna.id else each for each in signed.members)
    return signed, world.next_roster(signed, **({"members": members, "nonce": "77" * 16} | over))


def test_list_with_nothing_new_but_the_own_key_differs_in_nothing(world):
    assert beyond_own_key(*rotated(world), world.anna.id) == ()


def people(world: World, *more, without: str = "", **key) -> dict:
    signed = world.make_roster()
    kept = [replace(each, **key) if each.id == world.ben.id else each for each in signed.members if each.id != without]
    return {"members": tuple(sorted((*kept, *more), key=lambda each: each.id))}


CHANGES = {
    "added": (lambda world: people(world, Member("member-mallory", "org-hospital").entry), "'member-mallory' is added"),
    "left out": (lambda world: people(world, without=world.ben.id), "'member-ben' is left out"),
    "another's key": (lambda world: people(world, public_key=SigningKey.generate().public.text), "key, name or organisation"),
    "another's name": (lambda world: people(world, name="Benjamin"), "key, name or organisation of 'member-ben'"),
    "another's organisation": (lambda world: people(world, organisation_id="org-laboratory"), "key, name or organisation"),
    "who may run": (lambda _: {"run_policy": RunPolicy.ALL_MEMBERS}, "who may run jobs"),
    "approval rule": (
        lambda world: {"approval_groups": (ApprovalGroup(name="One", threshold=1, member_ids=(world.anna.id,)),)},
        "whose approvals",
    ),
    "log": (lambda _: {"log_key": SigningKey.generate().public.text}, "the log's key"),
    "name": (lambda _: {"name": "Other"}, "the workspace's name"),
    "organisation": (
        lambda world: {
            "organisations": tuple(
                replace(each, broker_signing_key=SigningKey.generate().public.text) for each in world.make_roster().organisations
            )
        },
        "keys or name of the organisation",
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_list_that_says_something_else_too_is_not_signed_with_the_key(world, change):
    over, words = CHANGES[change]
    found = beyond_own_key(*rotated(world, **over(world)), world.anna.id)
    assert any(words in each for each in found), found


def test_own_name_or_organisation_changed_with_the_key_is_named(world):
    signed, proposed = rotated(world)
    members = tuple(replace(each, name="Anne") if each.id == world.anna.id else each for each in proposed.members)
    assert beyond_own_key(signed, replace(proposed, members=members), world.anna.id)


def test_every_field_of_a_list_is_looked_at():
    """A field that is new in lists has to be given words, or at least be seen to differ: this names those known today."""
    known = {"members", "organisations", "workspace_id", "name", "log_key", "run_policy", "runners", "approval_groups"}
    linked = {"epoch", "genesis", "previous", "nonce"}
    assert {each.name for each in fields(Roster)} == {"v"} | known | linked
