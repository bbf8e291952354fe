"""What strangers send costs a broker next to nothing, and nobody waits for it: counted in signatures, not in time."""

import sys
from dataclasses import replace
from types import FrameType

import pytest

from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.release import Sealed, Token
from opaque_jobs.broker.statements import EarlierList, parse_statements
from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.keys import SigningKey, VerifyKey
from opaque_jobs.domain.canonical import canonical_bytes, parse_json
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.workspace import MAX_MEMBERS
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.support.log_keeper import LogKeeper
from tests.world import NOW, Member, World

VERIFY = VerifyKey.verify.__code__


class Verifications:
    """Counts the signatures that are verified meanwhile: in all, and while the broker's one lock is held."""

    def __init__(self, broker) -> None:
        self._broker = broker
        self.total = self.locked = 0

    def _count(self, frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code is VERIFY:
            self.total += 1
            self.locked += self._broker.store.busy

    def __enter__(self):
        self._before = sys.getprofile()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_exception) -> None:
        sys.setprofile(self._before)


def crowd(count, *guests):
    """Make a world of strangers with a laboratory of many, whose first list names these guests too."""
    world = World()
    world.organisations = [world.laboratory]
    world.laboratory.members = [Member(f"member-{number:03}", world.laboratory.id) for number in range(count)]
    members = tuple(sorted((*(each.entry for each in world.members), *guests), key=lambda each: each.id))
    homes = {each.organisation_id for each in guests}
    organisations = [each.entry for each in (World().hospital,) if each.id in homes] + [world.laboratory.entry]
    return world, world.make_roster(members=members, organisations=tuple(organisations))


def refused(stage, roster, acceptances, **over):
    with Verifications(stage.broker) as made, pytest.raises(OpaqueJobsError):
        stage.tell(roster=roster, acceptances=acceptances, **over)
    assert made.locked == 0
    return made.total


def test_list_of_strangers_has_no_signature_verified(stage):
    strangers, roster = crowd(200)
    withdrawals = [strangers.withdrawal(stage.spec, each) for each in strangers.members[:20]]
    for over in ({}, {"withdrawals": withdrawals}):
        assert refused(stage, roster, strangers.acceptances(roster), **over) == 0


def test_list_of_strangers_that_names_one_of_our_own_has_no_signature_verified_and_one_if_it_forges_theirs(stage):
    anna = stage.world.anna
    strangers, roster = crowd(200, anna.entry)
    signed = strangers.acceptances(roster)
    assert refused(stage, roster, signed) == 0
    forged = sign_acceptance(roster, anna.entry, anna.key, now=NOW)
    forged = forged.replace(b'"sig":"', b'"sig":"AAAA')[: len(forged)]
    other = sign_acceptance(replace(roster, name="Other"), anna.entry, anna.key, now=NOW)
    assert refused(stage, roster, (*signed, forged)) <= 1
    assert refused(stage, roster, (*signed, other)) == 1


def test_lists_before_one_that_none_of_our_own_signed_have_no_signature_verified(stage):
    strangers, first = crowd(50)
    second = strangers.next_roster(first, members=first.members, organisations=first.organisations)
    signed = tuple(each.decode() for each in strangers.acceptances(first))
    earlier = [EarlierList(roster=first.to_bytes().decode(), acceptances=signed)]
    assert refused(stage, second, strangers.acceptances(second), earlier=earlier) == 0


def test_holds_and_sharings_of_strangers_have_no_signature_verified(stage):
    stranger = SigningKey.generate()
    sharings = [stage.world.sharing(stage.world.hospital, signer=stranger) for _ in range(50)]
    with Verifications(stage.broker) as made, pytest.raises(TrustError):
        stage.tell(acceptances=(), sharings=sharings)
    assert made.total == 0


def test_log_of_a_workspace_that_none_of_our_own_signed_has_its_checkpoint_verified_alone(stage):
    for guests in ((), (stage.world.anna.entry,)):
        strangers, roster = crowd(100, *guests)
        strangers.log = LogKeeper("ws-9", SigningKey.generate())
        roster = replace(roster, workspace_id="ws-9", log_key=strangers.log.key.public.text)
        strangers.log.append(EntryKind.ROSTER, "ws-9", roster.to_bytes())
        for each in strangers.acceptances(roster):
            strangers.log.append(EntryKind.ACCEPTANCE, "ws-9", each)
        page = strangers.log.page(0).to_bytes()
        with Verifications(stage.broker) as made, pytest.raises(TrustError, match="no member list"):
            accept_page(stage.broker, page)
        assert (made.total, made.locked) == (1, 0)


def test_one_entry_many_times_is_verified_once(stage):
    stage.world.follow(stage.broker)
    first, sharing = stage.world.log.tree.size, stage.world.sharing(stage.world.hospital)
    for _ in range(50):
        stage.world.log.append(EntryKind.SHARING, "ds-1", sharing)
    page = stage.world.log.page(first).to_bytes()
    with Verifications(stage.broker) as made:
        accept_page(stage.broker, page)
    assert (made.total, made.locked) == (2, 0)


def test_nothing_is_verified_while_another_decision_would_wait(stage):
    """A whole run, with all that leads to it, and withdrawals that strangers entered in members' names."""
    for _ in range(10):
        envelope = parse_json(stage.world.withdrawal(stage.spec, stage.world.carl), what="envelope")
        envelope["signatures"][0]["sig"] = "A" * 86 + "=="
        stage.world.log.append(EntryKind.WITHDRAWAL, "job-1", canonical_bytes(envelope))
    with Verifications(stage.broker) as made:
        stage.tell()
        stage.world.clock.forward(1)
        stage.deposit()
        stage.share()
        session, token = stage.attest(stage.enclave())
        keys = stage.release(session)
    assert (type(token), type(keys)) == (Token, Sealed)
    assert made.total > 20
    assert made.locked == 0


def test_more_than_is_ever_sent_is_refused_before_anything_is_verified(stage):
    strangers, roster = crowd(10)
    with pytest.raises(InvalidInputError, match="not consistent"):
        crowd(MAX_MEMBERS + 1)
    assert refused(stage, roster, strangers.acceptances(roster) * 2) == 0
    own = stage.world.make_roster()
    assert refused(stage, own, stage.world.acceptances(own) * 2) == 0
    blank = {"roster": None, "acceptances": [], "earlier": [], "withdrawals": [], "sharings": [], "holds": []}
    parse_statements(canonical_bytes(blank | {"holds": ["x"] * 4096}))
    with pytest.raises(InvalidInputError, match="too much"):
        parse_statements(canonical_bytes(blank | {"holds": ["x"] * 4097}))
