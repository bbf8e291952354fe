"""A broker goes back over every member list before the one that it takes, whichever way: nobody is left out on the way."""

from dataclasses import dataclass, field, replace

import pytest

from opaque_jobs.attestation.kbs import attest_body
from opaque_jobs.broker.believing import newest_roster
from opaque_jobs.broker.config import pin_member, unpin_member
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.policy import Refused
from opaque_jobs.broker.release import Broker, Token
from opaque_jobs.broker.statements import EarlierList, Statements, accept_deposit, accept_statements
from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import TrustError
from tests.world import Enclave, Member, Organisation, World


@dataclass
class Line:
    """A broker that knows no workspace, and the lists of one in which ben is left out at the third epoch."""

    world: World
    broker: Broker
    lists: list[Roster]
    newcomers: list[Member] = field(default_factory=list)

    def signed(self, roster: Roster) -> tuple[bytes, ...]:
        named = {each.id for each in roster.members}
        return self.world.acceptances(roster, [each for each in self.everybody if each.id in named])

    @property
    def everybody(self):
        return [self.world.anna, self.world.ben, self.world.carl, *self.newcomers]

    def tell(self, roster: Roster, *earlier: Roster, without: int = 0) -> None:
        """Tell the list; `without` so many acceptances of each earlier one."""
        texts = {each.digest: tuple(signed.decode() for signed in self.signed(each)) for each in (roster, *earlier)}
        past = tuple(EarlierList(roster=each.to_bytes().decode(), acceptances=texts[each.digest][without:]) for each in earlier)
        accept_statements(
            self.broker,
            Statements(
                roster=roster.to_bytes().decode(),
                acceptances=texts[roster.digest],
                earlier=past,
                withdrawals=(),
                sharings=(),
                holds=(),
            ),
        )

    def log(self, *rosters: Roster, without: int = 0) -> None:
        for each in rosters:
            self.world.log.append(EntryKind.ROSTER, "ws-1", each.to_bytes())
            for signed in self.signed(each)[without:]:
                self.world.log.append(EntryKind.ACCEPTANCE, "ws-1", signed)

    def run(self, roster: Roster, run_id: str = "run-1") -> tuple[str, ...]:
        """Let an enclave ask under a list, and give the reasons against it; none if the keys came."""
        world, spec = self.world, self.world.make_spec(roster)
        named = {each.id for each in roster.members}
        bundle = world.make_bundle(
            spec,
            roster,
            run_id=run_id,
            approvals=world.votes(spec, [each for each in self.everybody if each.id in named]),
            acceptances=tuple(each.decode() for each in self.signed(roster)),
        )
        world.follow(self.broker)
        session, nonce = self.broker.begin(TeeKind.SIMULATED)
        body = attest_body(Enclave(world, spec, bundle, run_id=run_id).request(nonce)).encode()
        answer = self.broker.attest(session, body)
        if isinstance(answer, Token):
            answer = world.released(self.broker, session, workspace_id="ws-1", dataset_id=world.hospital.dataset_id, version=1)
        return answer.reasons if isinstance(answer, Refused) else ()

    def hold(self, roster: Roster, *, held: bool = True) -> None:
        """One of the broker's own people takes a list back, or lets it be."""
        self.world.clock.forward(1)
        said = self.world.hold(self.world.hospital, scope=HoldScope.ROSTER, subject=roster.digest, held=held)
        holds = (said.decode(),)
        told = Statements(roster=None, acceptances=(), earlier=(), withdrawals=(), sharings=(), holds=holds)
        accept_statements(self.broker, told)

    @property
    def believed(self) -> Roster | None:
        with self.broker.store.transaction() as memory:
            return memory.roster("ws-1")

    def refused(self, reason: str, roster: Roster, *earlier: Roster, **over: int) -> None:
        with pytest.raises(TrustError) as caught:
            self.tell(roster, *earlier, **over)
        assert caught.value.facts["reasons"] == reason


@pytest.fixture
def line(tmp_path):
    world = World()
    first = world.make_roster()
    second = world.next_roster(first, name="Renamed")
    third = world.next_roster(second, members=tuple(each for each in first.members if each.id != world.ben.id))
    broker = world.make_broker(world.hospital, tmp_path / "broker")
    home = world.hospital
    accept_deposit(
        broker, canonical_bytes({"deposit": world.deposit(home).decode(), "manifest": world.manifest_envelope(home).decode()})
    )
    sharing = world.sharing(home).decode()
    accept_statements(broker, Statements(roster=None, acceptances=(), earlier=(), withdrawals=(), sharings=(sharing,), holds=()))
    return Line(world, broker, [first, second, third])


def test_list_with_all_before_it_is_believed_at_first_contact(line):
    first, second, _ = line.lists
    third = line.world.next_roster(second, name="Third")
    line.tell(third, first, second)
    assert line.believed == third


def test_list_that_leaves_one_of_the_first_out_is_not_believed_at_first_contact(line):
    first, second, third = line.lists
    line.refused("own-member-left-out", third, first, second)
    assert line.believed is None


@pytest.mark.parametrize("shown", [(), (0,), (1,), (1, 0)], ids=str)
def test_list_is_not_believed_at_first_contact_without_all_before_it_in_order(line, shown):
    third = line.world.next_roster(line.lists[1], name="Third")
    line.refused("roster-gap", third, *(line.lists[at] for at in shown))
    assert line.believed is None


def test_list_before_that_somebody_did_not_accept_is_none(line):
    first, second, _ = line.lists
    line.refused("roster-gap", line.world.next_roster(second, name="Third"), first, second, without=1)


def test_list_two_epochs_later_is_believed_only_with_the_one_between(line):
    first, second, _ = line.lists
    third = line.world.next_roster(second, name="Third")
    line.tell(first)
    line.refused("roster-gap", third)
    assert line.believed == first
    line.tell(third, second)
    assert line.believed == third


def test_list_two_epochs_later_that_leaves_one_of_the_known_out_is_not_believed(line):
    first, second, third = line.lists
    line.tell(first)
    line.refused("own-member-left-out", third, second)
    assert line.believed == first


def test_refused_lists_and_those_of_another_line_are_not_kept(line):
    first, second, third = line.lists
    other = line.world.make_roster(name="Another")
    line.refused("own-member-left-out", third, first, second)
    line.tell(second, other, first)
    with line.broker.store.transaction() as memory:
        assert [memory.seen_list(each.digest) for each in (first, second, third, other)] == [first, second, None, None]


def test_log_is_followed_to_the_last_list_that_leaves_nobody_out(line):
    line.log(*line.lists)
    line.world.follow(line.broker)
    assert line.believed == line.lists[1]


def test_log_whose_first_list_was_not_accepted_by_all_teaches_none(line):
    first, second, third = line.lists
    line.log(first, without=1)
    line.log(second, third)
    with pytest.raises(TrustError, match="no member list"):
        line.world.follow(line.broker)
    assert line.believed is None


def test_acceptance_in_the_log_that_does_not_hold_spoils_no_list(line):
    first = line.lists[0]
    forger = replace(line.world.carl, key=SigningKey.generate())
    (forged,) = line.world.acceptances(first, [forger])
    (true,) = line.world.acceptances(first, [line.world.carl])
    named = forged.replace(forger.key.public.key_id.encode(), line.world.carl.key.public.key_id.encode())
    assert named != forged != true
    line.world.log.append(EntryKind.ROSTER, "ws-1", first.to_bytes())
    line.world.log.append(EntryKind.ACCEPTANCE, "ws-1", named)
    line.log(first)
    line.world.follow(line.broker)
    assert line.believed == first


def test_run_under_a_list_without_a_colleague_is_released_once_their_organisation_has_let_them_go(line):
    """The log brought the list before that, when it was refused; what a job shows is judged anew."""
    line.log(*line.lists)
    assert line.run(line.lists[2]) == ("own-member-left-out",)
    unpin_member(line.broker.folder, line.world.ben.id, line.world.hospital.broker)
    assert line.run(line.lists[2]) == ()
    assert line.believed == line.lists[2]


def test_colleague_under_whose_id_somebody_else_stands_is_missed(line):
    """The laboratory enters a stranger by ben's id; by ids alone nobody were left out."""
    first, world = line.lists[0], line.world
    impostor = Member(world.ben.id, "org-laboratory")
    second = world.next_roster(first, members=(world.anna.entry, impostor.entry, world.carl.entry))
    line.tell(first)
    world.ben = impostor
    line.refused("own-members-not-pinned", second)
    assert line.believed == first


def test_list_refused_for_a_missing_pin_counts_from_the_pin_on(line):
    dave = Member("member-dave", "org-hospital")
    line.newcomers.append(dave)
    first = line.lists[0]
    second = line.world.next_roster(first, members=(*first.members, dave.entry))
    third = line.world.next_roster(second, members=tuple(each for each in second.members if each.id != line.world.ben.id))
    line.log(first, second, third)
    assert line.run(first) == ()
    pin_member(line.broker.folder, dave.entry, line.world.hospital.broker)
    line.world.clock.forward(60)
    assert line.run(first, "run-2") == ("roster-outdated",)
    assert line.believed == second


def test_list_that_counts_from_a_pin_on_is_the_newest_at_once(line):
    dave = Member("member-dave", "org-hospital")
    line.newcomers.append(dave)
    first = line.lists[0]
    second = line.world.next_roster(first, members=(*first.members, dave.entry))
    line.log(first, second)
    line.world.follow(line.broker)
    pin_member(line.broker.folder, dave.entry, line.world.hospital.broker)
    assert line.believed == first
    with line.broker.store.transaction() as memory:
        assert newest_roster(line.broker.circle, memory, "ws-1") == second
        assert newest_roster(line.broker.circle, memory, "ws-2") is None
    assert line.believed == second


def test_lists_in_another_order_than_that_of_their_epochs_lead_to_the_last(line):
    first, second, _ = line.lists
    third = line.world.next_roster(second, name="Third")
    line.log(third, second, first)
    assert line.run(second) == ("roster-outdated",)
    assert line.believed == third


def test_each_member_accepts_a_list_once(line):
    first, world = line.lists[0], line.world
    line.tell(first)
    world.clock.forward(1)
    again = sign_acceptance(first, world.carl.entry, world.carl.key, now=world.clock())
    line.world.log.append(EntryKind.ACCEPTANCE, "ws-1", again)
    line.log(first)
    line.world.follow(line.broker)
    with line.broker.store.transaction() as memory:
        assert len(memory.signers(first.digest)) == len(first.members)


def test_organisation_that_joins_late_follows_a_long_log_once_it_was_told_the_lists(line, tmp_path):
    """The first entries bring lists without anybody of its own."""
    dave = Member("member-dave", "org-bank")
    bank = Organisation("org-bank", [dave])
    line.newcomers.append(dave)
    first, second, _ = line.lists
    organisations = (*first.organisations, bank.entry)
    third = line.world.next_roster(
        second,
        members=tuple(sorted((*first.members, dave.entry), key=lambda each: each.id)),
        organisations=tuple(sorted(organisations, key=lambda each: each.id)),
    )
    line.log(first, second)
    early = line.world.log.page(0).to_bytes()
    line.log(third)
    line.broker = line.world.make_broker(bank, tmp_path / "bank")
    with pytest.raises(TrustError, match="no member list"):
        accept_page(line.broker, early)
    line.tell(third, first, second)
    accept_page(line.broker, early)
    line.world.follow(line.broker)
    assert line.believed == third


def test_list_that_one_of_our_own_took_back_is_not_believed_though_all_signed_it(line):
    first, second, _ = line.lists
    line.tell(first)
    line.hold(second)
    line.refused("held-by-owner", second)
    line.log(first, second)
    assert "held-by-owner" in line.run(second)
    assert "held-by-owner" not in line.run(first)
    assert line.believed == first
    instead = line.world.next_roster(first, name="Instead")
    line.tell(instead)
    assert line.believed == instead


def test_list_taken_back_is_believed_again_once_that_is_lifted(line):
    first, second, _ = line.lists
    line.hold(second)
    line.refused("held-by-owner", second, first)
    line.hold(second, held=False)
    line.tell(second, first)
    assert line.believed == second
