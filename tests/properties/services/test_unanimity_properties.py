"""Unanimity: equality of sets for every subset of voters, whoever they are."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from consortium import copy_consortium
from hypothesis import given, settings
from hypothesis import strategies as st

from opaque_jobs.crypto.consent import consent_refusals, sign_acceptance, sign_vote
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.review import ApprovalBundle, Decision, unanimous
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, RunPolicy

KEYS = [SigningKey.generate() for _ in range(5)]
SEALING = SealingKey.generate().public.text
HOME = OrganisationEntry(
    id="org-1", name="one", sealing_key=SEALING, broker_deposit_key=SEALING, broker_signing_key=KEYS[0].public.text
)


def make_roster(size):
    members = tuple(
        MemberEntry(id=f"member-{number}", name=f"m{number}", organisation_id="org-1", public_key=KEYS[number].public.text)
        for number in range(size)
    )
    return Roster(
        v=1,
        workspace_id="ws-1",
        name="w",
        epoch=1,
        genesis=None,
        previous=None,
        members=members,
        organisations=(HOME,),
        run_policy=RunPolicy.AUTHOR,
        runners=(),
        approval_groups=(),
        log_key=KEYS[0].public.text,
        nonce="5e" * 16,
    )


@given(st.integers(1, 4), st.sets(st.integers(0, 4)))
def test_only_exactly_the_members_are_unanimous(size, voters):
    ids = {KEYS[number].public.key_id for number in voters}
    assert unanimous(make_roster(size), ids) is (voters == set(range(size)))


@pytest.fixture(scope="module")
def base(enlisted, tmp_path_factory):
    """A sound spec to make others of."""
    cast = copy_consortium(enlisted, tmp_path_factory.mktemp("base") / "home")
    cast.settle_in()
    spec = cast.services.jobs.spec_for_submission(cast.make_job().id, actor=cast.id("anna"))
    cast.services.close()
    return spec


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(0, 3), max_size=6), st.data())
def test_bundle_proves_consent_only_with_one_approval_of_each_member(base, size, voters, data):
    roster = make_roster(size)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    recipient = replace(base.recipients[0], organisation_id="org-1", sealing_key=SEALING, sealing_key_id=HOME.sealing_key_id)
    spec = replace(
        base,
        workspace_id="ws-1",
        workspace_genesis=roster.genesis_digest,
        roster_digest=roster.digest,
        author_id="member-0",
        recipients=(recipient,),
    )
    voters = [number for number in voters if number < size]
    reject = data.draw(st.booleans()) and bool(voters)
    votes = [
        sign_vote(spec, roster.members[number], KEYS[number], decision=Decision.APPROVE, comment=None, seen="0 x", now=now)
        for number in voters
    ]
    if reject:
        member = roster.members[voters[0]]
        votes.append(sign_vote(spec, member, KEYS[voters[0]], decision=Decision.REJECT, comment="no", seen="0 x", now=now))
    accepted = [sign_acceptance(roster, member, KEYS[number], now=now) for number, member in enumerate(roster.members)]
    bundle = ApprovalBundle(
        v=1,
        roster=roster.to_bytes().decode(),
        acceptances=tuple(each.decode() for each in accepted),
        approvals=tuple(each.decode() for each in votes),
        withdrawals=(),
        log=None,
    )
    reasons = consent_refusals(bundle, spec)
    assert (reasons == []) is (set(voters) == set(range(size)) and not reject)
