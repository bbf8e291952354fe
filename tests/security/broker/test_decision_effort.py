"""What a broker does for a decision grows with the members, and not with their square: it decides alone, one after another.

Counted in calls of functions, which are the same on every machine.
"""

import sys
from types import FrameType

import pytest

from opaque_jobs.attestation.simulated import SimulatedVerifier
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.policy import Case, Granted, Holding, Knowledge, decide
from opaque_jobs.crypto.consent import roster_refusals
from opaque_jobs.domain.log import EntryKind
from tests.world import NOW, Enclave, Member, World, salted

FEW, MORE, MANY = 8, 16, 32


def calls(operation) -> int:
    """Carry out an operation and count the calls of functions in it."""
    counted = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        operation()
    finally:
        sys.setprofile(before)
    return counted


def grows_like_the_members(effort) -> bool:
    """Tell whether twice as many more cost about twice as much more; with their square it were four times."""
    few, more, many = effort(FEW), effort(MORE), effort(MANY)
    return many - more < 2.6 * (more - few)


def make_world(members: int) -> World:
    """Give a world with so many members, all but two of them of the other organisation."""
    world = World()
    for number in range(3, members):
        world.laboratory.members.append(Member(f"member-{number:03}", world.laboratory.id))
    return world


def deciding(members: int) -> int:
    world = make_world(members)
    home, spec = world.hospital, world.make_spec(review_until=NOW.isoformat())
    enclave = Enclave(world, spec, world.make_bundle(spec))
    case = Case(
        spec=spec,
        bundle=enclave.bundle,
        run_id="run-1",
        inputs=enclave.inputs,
        refreshed={},
        keys=enclave.keys,
        nonce="bm9uY2U=",
        evidence=SimulatedVerifier([world.development_key.public]).verify(enclave.evidence("bm9uY2U="), now=NOW),
    )
    knowledge = Knowledge(
        organisation_id=home.id,
        deposit_key=home.broker.sealing.public.text,
        signing_key=home.broker.signing.public.text,
        members=tuple(member.entry for member in home.members),
        roster=world.make_roster(),
        earlier={}.get,
        withdrawals=(),
        held=frozenset(),
        lost=False,
        latest=NOW,
        log_root=lambda size: world.log.checkpoint(size).root,
        log_seen=lambda _size: NOW,
        holdings={(home.dataset_id, 1): Holding(manifest_digest=home.manifest().digest, salted=salted(home.policy()))},
        shared=frozenset({home.dataset_id}),
        releases=(),
        released_to=None,
        simulated_keys=frozenset({world.development_key.public.text}),
    )
    decided = []
    counted = calls(lambda: decided.append(decide(case, knowledge, now=NOW)))
    assert isinstance(decided[0], Granted), decided
    return counted


def test_deciding_costs_as_much_for_each_member_however_many_there_are():
    assert grows_like_the_members(deciding)


@pytest.fixture
def followed(tmp_path):
    """Count what it takes to follow a log with the first list and everybody's acceptance."""

    def effort(members: int) -> int:
        world = make_world(members)
        broker, roster = world.make_broker(world.hospital, tmp_path / str(members)), world.make_roster()
        world.log.append(EntryKind.ROSTER, "ws-1", roster.to_bytes())
        for each in world.acceptances(roster):
            world.log.append(EntryKind.ACCEPTANCE, "ws-1", each)
        page = world.log.page(0).to_bytes()
        counted = calls(lambda: accept_page(broker, page))
        with broker.store.transaction() as memory:
            assert memory.roster("ws-1") == roster
        return counted

    return effort


def test_acceptances_that_come_one_by_one_are_not_all_verified_with_each(followed):
    assert grows_like_the_members(followed)


def test_list_that_too_few_have_accepted_is_refused_whatever_they_signed():
    world = make_world(4)
    roster = world.make_roster()
    signed = world.acceptances(roster)
    assert roster_refusals(roster, signed) == []
    for some in (signed[:-1], (), (b"{}", *signed[:2])):
        assert roster_refusals(roster, some) == ["roster-not-accepted-by-all"]
    assert roster_refusals(roster, (signed[0], *signed[:-1])) == ["roster-not-accepted-by-all"]
    assert roster_refusals(roster, (b"{}", *signed[1:])) == ["acceptance-invalid"]
    assert roster_refusals(roster, (*signed, b"{}")) == ["acceptance-invalid"]
