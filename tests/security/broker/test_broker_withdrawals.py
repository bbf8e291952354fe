"""Consent taken back, as one broker learns it: what counts, what is kept, and what moves nothing."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.config import pin_member, unpin_member
from opaque_jobs.broker.release import Sealed, Token
from opaque_jobs.broker.statements import Statements, accept_statements
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import InvalidInputError, TrustError
from tests.world import Member, World


@pytest.mark.parametrize("member", ["anna", "ben", "carl"])
def test_withdrawal_by_anyone_stops_a_proven_enclave(stage, member):
    session, answer = stage.attest(stage.enclave())
    assert isinstance(answer, Token)
    stage.tell(withdrawals=[stage.world.withdrawal(stage.spec, getattr(stage.world, member))])
    assert stage.release(session).reasons == ("consent-withdrawn",)
    stage.restart()
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_is_kept_though_a_strangers_comes_with_it(stage):
    eve = Member("member-eve", "org-hospital")
    both = [stage.world.withdrawal(stage.spec, each) for each in (eve, stage.world.carl)]
    with pytest.raises(TrustError, match="not a member"):
        stage.tell(withdrawals=both)
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


class NextEpoch:
    """Eve joins the laboratory, and ben may go; the votes of all stand in the log."""

    def __init__(self, stage, *, ben_goes: bool) -> None:
        world = stage.world
        self.eve = Member("member-eve", "org-laboratory")
        world.laboratory.members.append(self.eve)
        before = world.make_roster(members=tuple(each.entry for each in world.members if each is not self.eve))
        if ben_goes:
            world.hospital.members.remove(world.ben)
        self.roster = world.next_roster(before)
        self.acceptances = world.acceptances(self.roster)
        stage.spec = world.make_spec(self.roster)
        self.withdrawal = world.withdrawal(stage.spec, self.eve)
        self.stage = stage

    def bundle(self):
        given = tuple(each.decode() for each in self.acceptances)
        return self.stage.world.make_bundle(self.stage.spec, self.roster, acceptances=given)


def test_withdrawal_in_the_log_before_the_last_acceptance_counts(stage):
    epoch, log = NextEpoch(stage, ben_goes=False), stage.world.log
    log.append(EntryKind.ROSTER, "ws-1", epoch.roster.to_bytes())
    for each in epoch.acceptances[:-1]:
        log.append(EntryKind.ACCEPTANCE, "ws-1", each)
    log.append(EntryKind.WITHDRAWAL, "job-1", epoch.withdrawal)
    stage.bundle = epoch.bundle()
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


@pytest.mark.parametrize("way", ["log", "push"])
def test_withdrawal_seen_before_the_broker_lets_its_own_member_go_counts(stage, way):
    epoch = NextEpoch(stage, ben_goes=True)
    stage.bundle = epoch.bundle()
    if way == "log":
        stage.world.log.append(EntryKind.WITHDRAWAL, "job-1", epoch.withdrawal)
        stage.world.follow(stage.broker)
    else:
        with pytest.raises(TrustError, match="does not believe"):
            stage.tell(roster=epoch.roster, acceptances=epoch.acceptances, withdrawals=[epoch.withdrawal])
    unpin_member(stage.folder, stage.world.ben.id, stage.world.hospital.broker)
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_under_a_list_without_one_of_our_own_is_not_kept(stage):
    world, stranger = stage.world, World()
    stranger.organisations = [stranger.laboratory]
    roster = stranger.make_roster()
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(
            roster=roster,
            acceptances=stranger.acceptances(roster),
            withdrawals=[stranger.withdrawal(stage.spec, stranger.carl)],
        )
    with stage.broker.store.transaction() as memory:
        assert memory.withdrawals(world.log.workspace_id, stage.spec.digest) == ()


def test_withdrawal_counts_though_the_broker_calls_its_members_otherwise(stage):
    """A member is a key; names are the database's word, at pin time too."""
    world = stage.world
    for each in (world.anna, world.ben):
        pin_member(stage.folder, replace(each.entry, name=f"{each.id}-x"), world.hospital.broker)
    stage.tell(withdrawals=[world.withdrawal(stage.spec, world.carl)])
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_counts_with_the_acceptances_that_the_broker_has_already(stage):
    world, roster = stage.world, stage.world.make_roster()
    stage.tell(acceptances=world.acceptances(roster)[1:], withdrawals=[world.withdrawal(stage.spec, world.carl)])
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_that_is_not_kept_is_not_acknowledged(stage):
    world = stage.world
    other = world.make_roster(name="Nobody accepted this")
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(roster=other, acceptances=(), withdrawals=[world.withdrawal(world.make_spec(other), world.carl)])


def test_withdrawal_under_a_list_that_is_believed_only_a_moment_later_is_not_acknowledged(stage, monkeypatch):
    """Own people are pinned between the look at withdrawals and the one at the list: what was not kept must not seem to be."""
    home, world, folder = stage.world.hospital, stage.world, stage.folder.with_name("fresh")
    stage.broker = world.make_broker(home, folder, members=())

    looking = iter([lambda: None, lambda: None, lambda: [pin_member(folder, each.entry, home.broker) for each in home.members]])
    begin = stage.broker.store.transaction

    def transaction():
        """Holds, withdrawals, the list: one after the other."""
        next(looking)()
        return begin()

    monkeypatch.setattr(stage.broker.store, "transaction", transaction)
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(withdrawals=[world.withdrawal(stage.spec, world.carl)])


def test_withdrawal_by_a_stranger_in_the_log_moves_nothing(stage):
    stage.world.log.append(EntryKind.WITHDRAWAL, "job-1", stage.world.withdrawal(stage.spec, World().carl))
    assert isinstance(stage.run(stage.enclave()), Sealed)


@pytest.mark.parametrize(("count", "subject", "other_runs"), [(64, "own", True), (4096, "other", False)])
def test_more_withdrawals_than_are_kept_count_as_one(stage, count, subject, other_runs):
    other = stage.world.make_spec(revision=2)
    with stage.broker.store.transaction() as memory:
        for n in range(count):
            about = stage.spec.digest if subject == "own" else f"sha256:{n:064x}"
            memory.put_withdrawal("ws-1", about, b"%d" % n)
        assert memory.withdrawals("ws-1", stage.spec.digest) is not None
        memory.put_withdrawal("ws-1", stage.spec.digest, b"one more")
        assert memory.withdrawals("ws-1", stage.spec.digest) is None
        assert (memory.withdrawals("ws-1", other.digest) is not None) is other_runs
        memory.put_withdrawal("ws-2", stage.spec.digest, b"elsewhere")
        assert memory.withdrawals("ws-2", stage.spec.digest) == (b"elsewhere",)


def test_withdrawal_that_is_too_long_to_keep_counts(stage):
    with stage.broker.store.transaction() as memory:
        memory.put_withdrawal("ws-1", stage.spec.digest, bytes(4096))
        assert memory.withdrawals("ws-1", stage.spec.digest) == (bytes(4096),)
        memory.put_withdrawal("ws-1", stage.spec.digest, bytes(4097))
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_stops_only_the_job_it_names(stage):
    stage.tell(withdrawals=[stage.world.withdrawal(stage.world.make_spec(revision=2), stage.world.anna)])
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_withdrawal_is_kept_though_what_came_with_it_is_refused(stage):
    withdrawal = stage.world.withdrawal(stage.spec, stage.world.anna)
    with pytest.raises(TrustError):
        stage.tell(withdrawals=[withdrawal], sharings=[stage.world.sharing(stage.world.hospital, signer=SigningKey.generate())])
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_by_a_stranger_is_refused(stage):
    mallory = World()
    with pytest.raises(TrustError):
        stage.tell(withdrawals=[mallory.withdrawal(stage.spec, mallory.carl)])


def test_withdrawal_without_a_member_list_is_refused(stage):
    envelope = stage.world.withdrawal(stage.spec, stage.world.anna).decode()
    with pytest.raises(InvalidInputError):
        accept_statements(
            stage.broker, Statements(roster=None, acceptances=(), earlier=(), withdrawals=(envelope,), sharings=(), holds=())
        )
