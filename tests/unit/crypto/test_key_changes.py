"""Key changes: on whose word a key is the next one, and what a waiting member list may change."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.key_changes import (
    KEY_CHANGE,
    SignedChange,
    explained_changes,
    sign_key_change,
    verify_member_change,
    verify_sealing_change,
)
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.crypto.signing import sign_statement, verify_statement
from opaque_jobs.domain.key_change import Authority, KeyUse
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.world import NOW, World

FRESH = SigningKey.generate()


@pytest.fixture(scope="module")
def world():
    return World()


def member_change(world, *, by=None, possession=FRESH, new=FRESH, **over):
    said = {
        "owner_id": world.anna.id,
        "use": KeyUse.SIGNING,
        "old_key_id": world.anna.key.public.key_id,
        "new_key": new.public.text,
        "now": NOW,
    } | over
    word = sign_key_change(signer=by or world.anna.key, **said)
    return SignedChange(word=word, possession=sign_key_change(signer=possession, **said) if possession else None)


def sealing_change(world, *, by=None, **over):
    said = {
        "owner_id": world.hospital.id,
        "use": KeyUse.SEALING,
        "old_key_id": world.hospital.sealing.public.key_id,
        "new_key": SealingKey.generate().public.text,
        "now": NOW,
    } | over
    return SignedChange(word=sign_key_change(signer=by or world.hospital.broker.signing, **said), possession=None)


def verified(world, signed):
    return verify_member_change(signed, world.anna.entry, world.hospital.entry)


def test_change_signed_by_the_key_before_and_the_new_one_holds(world):
    change, authority = verified(world, member_change(world))
    assert (change.new_key, authority) == (FRESH.public.text, Authority.FORMER_KEY)


def test_change_of_a_lost_key_is_the_organisations_word(world):
    assert verified(world, member_change(world, by=world.hospital.broker.signing))[1] is Authority.ORGANISATION


@pytest.mark.parametrize(
    "signed",
    [
        lambda world: member_change(world, by=world.ben.key),
        lambda world: member_change(world, by=world.laboratory.broker.signing),
        lambda world: member_change(world, by=FRESH),
        lambda world: member_change(world, possession=None),
        lambda world: member_change(world, possession=world.anna.key),
        lambda world: member_change(world, owner_id=world.ben.id),
        lambda world: member_change(world, old_key_id=world.ben.key.public.key_id),
        lambda world: member_change(world, use=KeyUse.SEALING),
        lambda world: replace(
            member_change(world), possession=member_change(world, new=SigningKey.generate(), possession=FRESH).possession
        ),
        lambda world: replace(member_change(world), word=world.withdrawal(world.make_spec(), world.anna)),
    ],
)
def test_change_by_somebody_else_or_of_another_key_is_refused(world, signed):
    with pytest.raises(TrustError):
        verified(world, signed(world))


def test_change_is_of_a_member_of_that_organisation_only(world):
    with pytest.raises(TrustError):
        verify_member_change(member_change(world, by=world.laboratory.broker.signing), world.anna.entry, world.laboratory.entry)


@pytest.mark.parametrize("part", ["word", "possession"])
def test_change_that_names_another_key_than_it_is_about_is_refused(world, part):
    signed = member_change(world)
    signer = world.anna.key if part == "word" else FRESH
    said = verify_statement(getattr(signed, part), signer.public, predicate_type=KEY_CHANGE)
    forged = sign_statement(
        signer,
        predicate_type=KEY_CHANGE,
        subject_name=said.subject_name,
        subject_digest=SigningKey.generate().public.key_id,
        predicate=said.predicate,
    )
    with pytest.raises(TrustError, match="another key"):
        verified(world, replace(signed, **{part: forged}))


@pytest.mark.parametrize("part", ["word", "possession"])
def test_every_flipped_byte_of_a_change_is_refused(world, part):
    signed = member_change(world)
    whole = getattr(signed, part)
    for position in range(len(whole)):
        flipped = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        with pytest.raises(OpaqueJobsError):
            verified(world, replace(signed, **{part: flipped}))


def test_sealing_change_signed_by_the_broker_key_holds(world):
    assert verify_sealing_change(sealing_change(world), world.hospital.entry).use is KeyUse.SEALING


@pytest.mark.parametrize(
    ("signed", "error"),
    [
        (lambda world: sealing_change(world, by=world.laboratory.broker.signing), TrustError),
        (lambda world: sealing_change(world, by=world.anna.key), TrustError),
        (lambda world: sealing_change(world, owner_id=world.laboratory.id), TrustError),
        (lambda world: sealing_change(world, old_key_id=world.laboratory.sealing.public.key_id), TrustError),
        (lambda world: sealing_change(world, new_key=FRESH.public.text), InvalidInputError),
    ],
)
def test_sealing_change_by_somebody_else_or_of_another_key_is_refused(world, signed, error):
    with pytest.raises(error):
        verify_sealing_change(signed(world), world.hospital.entry)


def with_key(roster, member_id, key):
    members = tuple(replace(each, public_key=key.public.text) if each.id == member_id else each for each in roster.members)
    return replace(roster, members=members)


def with_organisation(roster, organisation_id, **over):
    changed = tuple(replace(each, **over) if each.id == organisation_id else each for each in roster.organisations)
    return replace(roster, organisations=changed)


def test_list_without_other_keys_changes_nothing(world):
    before = world.make_roster()
    assert explained_changes(before, world.next_roster(before), [member_change(world)]) == ()


def test_list_with_signed_changes_names_them(world):
    before, sealed = world.make_roster(), sealing_change(world)
    new_key = verify_sealing_change(sealed, world.hospital.entry).new_key
    proposed = with_organisation(
        with_key(world.next_roster(before), world.anna.id, FRESH), world.hospital.id, sealing_key=new_key
    )
    named = explained_changes(before, proposed, [member_change(world), sealed])
    assert {(each.name, each.authority) for each in named} == {
        (world.anna.id, Authority.FORMER_KEY),
        (world.hospital.id, Authority.ORGANISATION),
    }


def test_two_changes_one_after_another_are_followed_and_the_weaker_word_is_named(world):
    before, last = world.make_roster(), SigningKey.generate()
    second = member_change(world, by=world.hospital.broker.signing, possession=last, new=last, old_key_id=FRESH.public.key_id)
    proposed = with_key(world.next_roster(before), world.anna.id, last)
    for order in ([member_change(world), second], [second, member_change(world)]):
        (named,) = explained_changes(before, proposed, order)
        assert named.authority is Authority.ORGANISATION


@pytest.mark.parametrize("signed", [[], ["of another"], ["by a colleague"], ["for a key before"]])
def test_list_with_a_key_that_nobody_signed_for_is_refused(world, signed):
    before = world.make_roster()
    known = {
        "of another": member_change(world, owner_id=world.ben.id, old_key_id=world.ben.key.public.key_id, by=world.ben.key),
        "by a colleague": member_change(world, by=world.ben.key),
        "for a key before": member_change(world, old_key_id=world.ben.key.public.key_id),
    }
    with pytest.raises(TrustError, match="changes a key"):
        explained_changes(before, with_key(world.next_roster(before), world.anna.id, FRESH), [known[each] for each in signed])


@pytest.mark.parametrize("field", ["broker_signing_key", "broker_deposit_key", "name"])
def test_list_with_another_broker_or_name_of_an_organisation_is_refused(world, field):
    before = world.make_roster()
    other = {
        "broker_signing_key": SigningKey.generate().public.text,
        "broker_deposit_key": SealingKey.generate().public.text,
        "name": "Another",
    }
    proposed = with_organisation(world.next_roster(before), world.hospital.id, **{field: other[field]})
    with pytest.raises(TrustError, match="changes a key"):
        explained_changes(before, proposed, [sealing_change(world)])


def test_list_that_moves_a_member_to_another_organisation_is_refused(world):
    before = world.make_roster()
    moved = tuple(
        replace(each, organisation_id=world.laboratory.id) if each.id == world.ben.id else each for each in before.members
    )
    with pytest.raises(TrustError):
        explained_changes(before, replace(world.next_roster(before), members=moved), [member_change(world)])


def test_new_member_is_no_changed_key(world):
    before = world.make_roster()
    smaller = replace(before, members=tuple(each for each in before.members if each.id != world.ben.id))
    assert explained_changes(smaller, world.next_roster(before), []) == ()
