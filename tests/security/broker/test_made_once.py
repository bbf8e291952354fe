"""What is made once for a document is of that very document: no other ever carries it, and no bytes can bring it along."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.broker.policy import Case
from opaque_jobs.crypto.consent import consent_refusals
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_json
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.domain.workspace import RunPolicy, parse_roster
from opaque_jobs.errors import InvalidInputError
from tests.world import Enclave, Member, World

WORLD = World()
LIST = WORLD.make_roster()
STRANGER = Member("member-carl", "org-laboratory")
IDS = tuple(each.id for each in LIST.members)
KEYS = [Member("member-carl", "org-laboratory").key.public.text for _ in range(3)]
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["Study", "Study 2", "S"]),
        "run_policy": st.sampled_from([RunPolicy.AUTHOR, RunPolicy.ALL_MEMBERS]),
        "log_key": st.sampled_from(KEYS),
        "members": st.sampled_from([(*LIST.members[:2], replace(LIST.members[2], public_key=key)) for key in KEYS]),
        "approval_groups": st.integers(1, 3).map(lambda n: (ApprovalGroup(name="Board", threshold=n, member_ids=IDS),)),
    },
)


def asked(roster):
    """Have everything made that is made once, and give it."""
    return roster.digest, roster.key_ids, roster.genesis_digest


@given(CHANGES)
def test_changed_list_has_its_own_digest_and_keys_though_the_first_was_asked_for_its_own(changes):
    before = asked(LIST)
    changed = replace(LIST, **changes)
    fresh = parse_roster(changed.to_bytes())
    assert asked(changed) == asked(fresh) == asked(changed)
    assert changed.digest == digest(changed.to_bytes())
    assert changed.key_ids == {each.key_id for each in changed.members}
    assert all(changed.speaker(each.key_id) == each for each in changed.members)
    assert (changed.digest == before[0]) is (changed == LIST)
    assert asked(LIST) == before == asked(parse_roster(LIST.to_bytes()))


def test_key_that_is_exchanged_speaks_for_nobody_in_the_changed_list():
    asked(LIST)
    changed = replace(LIST, members=(*LIST.members[:2], STRANGER.entry))
    assert changed.speaker(WORLD.carl.entry.key_id) is None
    assert changed.speaker(STRANGER.entry.key_id) == STRANGER.entry
    assert LIST.speaker(STRANGER.entry.key_id) is None


@pytest.mark.parametrize("name", ["digest", "_by_key", "key_ids", "genesis_digest"])
def test_bytes_that_bring_what_is_made_once_are_no_list(name):
    document = parse_json(LIST.to_bytes(), what="list")
    with pytest.raises(InvalidInputError):
        parse_roster(canonical_bytes({**document, name: LIST.digest}))


def test_bytes_that_bring_a_parsed_list_are_no_bundle():
    bundle = WORLD.make_bundle(WORLD.make_spec())
    document = parse_json(bundle.to_bytes(), what="bundle")
    with pytest.raises(InvalidInputError):
        parse_bundle(canonical_bytes({**document, "member_list": document["roster"]}))


def test_bundle_with_another_text_has_that_texts_list_though_the_first_was_asked_for_its_own():
    spec = WORLD.make_spec()
    bundle = WORLD.make_bundle(spec)
    assert bundle.member_list == LIST
    assert consent_refusals(bundle, spec) == []
    other = replace(LIST, members=(*LIST.members[:2], STRANGER.entry))
    exchanged = replace(bundle, roster=other.to_bytes().decode())
    assert exchanged.member_list == other
    assert consent_refusals(exchanged, spec) != []
    assert bundle.member_list == LIST


def test_bundle_without_a_list_says_so_each_time():
    spec = WORLD.make_spec()
    bundle = replace(WORLD.make_bundle(spec), roster="{}")
    for _ in range(2):
        with pytest.raises(InvalidInputError):
            _ = bundle.member_list
        assert consent_refusals(bundle, spec) == ["roster-invalid"]


def test_documents_that_were_asked_are_the_same_as_those_that_were_not():
    spec = WORLD.make_spec()
    bundle = WORLD.make_bundle(spec)
    untouched = parse_bundle(bundle.to_bytes())
    assert consent_refusals(bundle, spec) == []
    assert (bundle, bundle.to_bytes(), bundle.digest) == (untouched, untouched.to_bytes(), untouched.digest)
    assert bundle.member_list == parse_roster(untouched.roster.encode())


def test_case_of_another_job_has_that_jobs_digest_though_the_first_was_asked_for_its_own():
    spec = WORLD.make_spec()
    enclave = Enclave(WORLD, spec, WORLD.make_bundle(spec))
    case = Case(
        spec=spec, bundle=enclave.bundle, run_id="run-1", inputs={}, refreshed={}, keys=enclave.keys, nonce="", evidence=None
    )
    assert case.job_digest == spec.digest
    other = replace(spec, name="Another")
    assert replace(case, spec=other).job_digest == other.digest != spec.digest
