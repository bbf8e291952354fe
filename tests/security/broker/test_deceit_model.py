"""Brokers against a database that shows one thing and stores another, carriers that drop, and clocks that jump.

The model's truth is what each member was shown and signed, whom each organisation has pinned and what its owner deposited, what
truly reached a broker, and every time that its clock told. No key goes out beyond that, whatever the rest say.
"""

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from opaque_jobs.attestation.kbs import attest_body
from opaque_jobs.broker.app import create_app
from opaque_jobs.broker.config import pin_member
from opaque_jobs.broker.monitor import accept_page, followed_to
from opaque_jobs.broker.release import Broker, Sealed, Token
from opaque_jobs.broker.statements import accept_deposit
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.consent import sign_acceptance, sign_vote
from opaque_jobs.crypto.signing import claimed_subject
from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.domain.job import Code, JobSpec, Language, TeeKind
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import ApprovalBundle, Decision
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import OpaqueJobsError
from tests.support.carrier import FATES, Carrier
from tests.world import NOW, Clock, Enclave, Member, Organisation, World

ENDS = NOW + timedelta(days=2)
REVIEWED_BY = NOW + timedelta(hours=6)
SKEW = timedelta(seconds=120)
TERMS = RerunTerms(
    max_runs=4, not_before=None, not_after=ENDS.isoformat(), min_interval_s=0, schedule=None, variable_inputs=("threshold",)
)
OTHER = "sha256:" + "77" * 32
JUMPS = (-3 * 86400, -86400, -3600, -100, -20, 20, 100, 3600, 86400, 3 * 86400)
LISTS = ("joins", "joins", "stranger", "left out", "unsigned")


def _fast_folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    return Path(tempfile.mkdtemp(prefix="opaque-jobs-deceit-", dir=memory if memory.is_dir() else None))


@dataclass
class Job:
    """A job, and who truly signed it."""

    spec: JobSpec
    roster: Roster
    votes: dict[str, str] = field(default_factory=dict)
    rejected: bool = False
    unlike: frozenset[str] = frozenset()
    """Owners who have deposited, or allow, something else than this names."""
    runs: dict[str, int] = field(default_factory=dict)


@dataclass
class Side:
    """A broker, and what the model knows of it."""

    owner: Organisation
    broker: Broker
    clock: Clock
    carrier: Carrier
    pinned: dict[str, str]
    latest: datetime = NOW
    vetoes: set[str] = field(default_factory=set)
    lifted: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    first_seen: dict[str, datetime] = field(default_factory=dict)
    read: int = 0
    believed: int = 0


class DeceitMachine(RuleBasedStateMachine):
    """One workspace, two brokers; the database, the log's keeper and the carriers are somebody's who wants keys."""

    def __init__(self):
        super().__init__()
        self.world, self.folder, self.count = World(), _fast_folder(), 0
        self.people = {each.id: each for each in self.world.members}
        self.acceptances: dict[str, list[bytes]] = {}
        self.lists: list[Roster] = []
        self.jobs: list[Job] = []
        self.effects: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.standing = {each.id: [] for each in self.world.organisations}
        self.sides = {each.id: self.side(each) for each in self.world.organisations}

    def side(self, owner):
        broker, clock = self.world.make_broker(owner, self.folder / owner.id), Clock()
        broker.clock = clock
        body = {"deposit": self.world.deposit(owner).decode(), "manifest": self.world.manifest_envelope(owner).decode()}
        accept_deposit(broker, canonical_bytes(body))
        pinned = {each.id: each.entry.public_key for each in owner.members}
        return Side(owner, broker, clock, Carrier(create_app(broker)), pinned)

    def teardown(self):
        shutil.rmtree(self.folder)

    # What people do.

    @initialize()
    def begin(self):
        self.sign_list(self.world.make_roster(), list(self.people.values()))
        for side in self.sides.values():
            assert self.tell(side, "share", sharings=[self.world.sharing(side.owner)])
        self.propose("nothing", "all")

    def sign_list(self, roster, signers):
        self.lists.append(roster)
        self.acceptances[roster.digest] = [sign_acceptance(roster, each.entry, each.key, now=NOW) for each in signers]
        self.world.log.once(EntryKind.ROSTER, "ws-1", roster.to_bytes())
        for each in self.acceptances[roster.digest]:
            self.world.log.once(EntryKind.ACCEPTANCE, "ws-1", each)

    def in_force(self):
        return [each for each in self.lists if len(self.acceptances[each.digest]) == len(each.members)]

    @precondition(lambda self: len(self.lists) < 5)
    @rule(kind=st.sampled_from(LISTS))
    def members_are_shown_another_list(self, kind):
        """All sign it as shown, but what it says of an organisation's people is that organisation's to know."""
        people = {name: each for name, each in self.people.items() if name != "member-mallory"}
        if kind == "joins":
            mallory = self.people.setdefault("member-mallory", Member("member-mallory", "org-laboratory"))
            side = self.sides["org-laboratory"]
            pin_member(side.broker.folder, mallory.entry, side.owner.broker)
            side.pinned[mallory.id] = mallory.entry.public_key
        if kind in {"joins", "unsigned"}:
            people["member-mallory"] = self.people.get("member-mallory") or Member("member-mallory", "org-laboratory")
        elif kind == "stranger":
            people["member-dora"] = Member("member-dora", "org-hospital")
        elif kind == "left out":
            del people["member-ben"]
        before = self.in_force()[-1]
        entries = tuple(people[name].entry for name in sorted(people))
        roster = self.world.next_roster(before, members=entries, nonce=f"{len(self.lists):032x}")
        signed = [each for name, each in people.items() if kind != "unsigned" or name in {"member-mallory", "member-carl"}]
        self.sign_list(roster, signed)
        self.strangers = people
        self.propose("nothing", "all", roster=roster, people=people)
        for job in self.jobs:
            self.try_everywhere(job)

    @precondition(lambda self: len(self.jobs) < 12)
    @rule(kind=st.sampled_from(("code", "version", "policy", "columns")), votes=st.sampled_from(("all", "others", "but one")))
    def database_shows_one_job_and_stores_another(self, kind, votes):
        self.propose(kind, votes)

    def propose(self, kind, votes, *, roster=None, people=None):
        """Show a job and store another: `others` sign what they are shown, the author what is stored."""
        roster, people = roster or self.in_force()[-1], people or self.known_people()
        self.count += 1
        uses = tuple(each.use() for each in self.world.organisations)
        given = {"rerun_terms": TERMS, "job_id": f"job-{self.count}", "review_until": REVIEWED_BY.isoformat()}
        shown = self.world.make_spec(roster, datasets=uses, **given)
        unlike = {
            "code": {"code": Code(language=Language.SQL, text="select * from data_org_hospital")},
            "version": {"datasets": (replace(uses[0], manifest_digest=OTHER), *uses[1:])},
            "policy": {"datasets": (replace(uses[0], policy_commitment=OTHER), *uses[1:])},
            "columns": {"datasets": (replace(uses[0], columns=("hidden", "id")), *uses[1:])},
        }.get(kind, {})
        stored = replace(shown, **unlike)
        wrong = frozenset({"org-hospital"} if kind in {"version", "policy", "columns"} else ())
        truth, lie = Job(shown, roster), Job(stored, roster, unlike=wrong)
        signers = [people[each.id] for each in roster.members]
        if votes == "all":
            for each in signers:
                self.vote(lie, each)
        else:
            self.vote(lie, signers[0])
            for each in signers[: None if votes == "others" else -1]:
                self.vote(truth, each)
            self.jobs.append(truth)
        self.jobs.append(lie)
        for job in self.jobs[-2:]:
            self.try_everywhere(job)

    def known_people(self):
        return {**self.people, **getattr(self, "strangers", {})}

    def vote(self, job, member, decision=Decision.APPROVE):
        seen = self.world.log.checkpoint().seen
        said = sign_vote(job.spec, member.entry, member.key, decision=decision, comment=None, seen=seen, now=NOW)
        job.votes[member.id] = said.decode()
        job.rejected |= decision is Decision.REJECT

    @rule(data=st.data(), reject=st.booleans())
    def last_vote_comes(self, data, reject):
        waiting = [job for job in self.jobs if len(job.votes) == len(job.roster.members) - 1 and not job.rejected]
        if waiting:
            job = data.draw(st.sampled_from(waiting))
            (name,) = {each.id for each in job.roster.members} - {*job.votes}
            self.vote(job, self.known_people()[name], Decision.REJECT if reject else Decision.APPROVE)
            self.try_everywhere(job)

    @rule(data=st.data(), way=st.sampled_from(("told", "told", "log")), fate=st.sampled_from(FATES))
    def consent_is_withdrawn(self, data, way, fate):
        job = self.able(data)
        if job is None:
            return
        name = data.draw(st.sampled_from([each.id for each in job.roster.members]))
        envelope = self.world.withdrawal(job.spec, self.known_people()[name])
        if way == "log":
            self.world.log.append(EntryKind.WITHDRAWAL, job.spec.job_id, envelope)
        else:
            side = data.draw(st.sampled_from([*self.sides.values()]))
            label = self.label("withdraw", job.spec.digest)
            self.send(side, label, fate, roster=job.roster, withdrawals=[envelope])
        self.try_everywhere(job)

    @rule(data=st.data(), what=st.sampled_from(("hold", "sharing")), fate=st.sampled_from(FATES))
    def owner_says_stop_or_go(self, data, what, fate):
        side = data.draw(st.sampled_from([*self.sides.values()]))
        stop = data.draw(st.sampled_from((True, True, False))) or not self.named(side, what)
        if what == "hold":
            envelope = self.world.hold(side.owner, held=stop)
            words = {"holds": [envelope]}
        else:
            envelope = self.world.sharing(side.owner, shared=not stop)
            words = {"sharings": [envelope]}
        said = claimed_subject(envelope)
        mine = self.standing[side.owner.id]
        label = self.label("veto", said) if stop else self.label("lift", *self.named(side, what))
        if stop:
            mine.append((what, said))
        self.send(side, label, fate, **words)
        self.try_some(data)

    def named(self, side, what):
        """What a lift by `World` names: all vetoes of its kind that were signed before."""
        return tuple(said for each, said in self.standing[side.owner.id] if each == what)

    # What the carrier does.

    def label(self, effect, *about):
        name = f"{len(self.effects)}"
        self.effects[name] = effect, about
        return name

    def tell(self, side, effect, **words):
        return self.send(side, self.label(effect), "bring", **words)

    def send(self, side, label, fate, *, roster=None, **words):
        """Send as a client does; whoever is told that it was kept can rely on it."""
        roster = roster or self.in_force()[0]
        side.carrier.fate, side.carrier.label = fate, label
        before = len(side.carrier.carried)
        try:
            with BrokerClient("http://127.0.0.1:8701", transport=side.carrier) as client:
                key, signed = side.owner.broker.signing.public, self.acceptances[roster.digest]
                listed = (
                    {"roster": roster.to_bytes(), "acceptances": signed} if "withdrawals" in words or not side.believed else {}
                )
                client.push(key=key, **({"roster": None} | listed | words))
        except OpaqueJobsError:
            acknowledged = False
        else:
            acknowledged = True
            assert len(side.carrier.carried) > before, "acknowledged, but it never came"
        side.believed = 1
        event(f"{fate}: {'acknowledged' if acknowledged else 'told that it was not'}")
        self.settle(side)
        return acknowledged

    @rule(data=st.data())
    def carrier_brings_what_is_late_or_was_there(self, data):
        side = data.draw(st.sampled_from([*self.sides.values()]))
        for choice in (side.carrier.late, side.carrier.seen):
            if choice:
                side.carrier.bring(*data.draw(st.sampled_from(choice)))
        side.carrier.late.clear()
        self.settle(side)
        self.try_some(data)

    def settle(self, side):
        """Note what has truly reached a broker."""
        for label in side.carrier.carried:
            effect, about = self.effects[label]
            {"veto": side.vetoes, "lift": side.lifted, "withdraw": side.withdrawn}.get(effect, set()).update(about)
        side.carrier.carried.clear()

    @rule(data=st.data(), how=st.sampled_from(("late page", "page with a gap", "changed page", "other key")))
    def keeper_shows_a_wrong_page(self, data, how):
        side = data.draw(st.sampled_from([*self.sides.values()]))
        first, log = followed_to(side.broker, "ws-1"), self.world.log
        log.append(EntryKind.OUTCOME, "nothing")
        log.append(EntryKind.OUTCOME, "nothing")
        pages = {
            "late page": lambda: log.page(first + 1),
            "page with a gap": lambda: log.page(first, entries=tuple(log.logged[first + 1 :])),
            "changed page": lambda: log.page(first, entries=tuple(log.logged[first:-1])),
            "other key": lambda: log.page(first, checkpoint="\n".join(reversed(log.note().split("\n")))),
        }
        with pytest.raises(OpaqueJobsError):
            accept_page(side.broker, pages[how]().to_bytes())
        assert followed_to(side.broker, "ws-1") == first

    # What clocks do.

    @rule(data=st.data(), seconds=st.sampled_from(JUMPS))
    def clock_jumps(self, data, seconds):
        side = data.draw(st.sampled_from([*self.sides.values()]))
        side.clock.forward(seconds)
        self.follow(side)
        self.try_some(data)

    @rule(data=st.data())
    def clock_is_set_right_or_the_broker_restarts(self, data):
        side = data.draw(st.sampled_from([*self.sides.values()]))
        side.clock.now = max(side.latest, NOW)
        self.try_some(data)

    @rule(seconds=st.sampled_from(JUMPS))
    def members_clocks_are_wrong(self, seconds):
        """People's statements are dated by their own clocks."""
        self.world.clock.now = NOW + timedelta(seconds=seconds)

    # What somebody tries who wants keys.

    def follow(self, side):
        first, log = followed_to(side.broker, "ws-1"), self.world.log
        if first == log.tree.size:
            return
        accept_page(side.broker, log.page(first).to_bytes())
        self.tick(side)
        for each in log.logged[first:]:
            if each.entry.kind is EntryKind.WITHDRAWAL:
                side.withdrawn.add(claimed_subject(each.document.encode()))
            side.first_seen.setdefault(each.entry.statement, side.latest)

    def tick(self, side):
        side.latest = max(side.latest, side.clock.now)

    def able(self, data):
        found = [job for job in self.jobs if len(job.votes) == len(job.roster.members) and not job.rejected]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def try_some(self, data):
        job = self.able(data)
        if job is not None:
            self.try_everywhere(job)

    def try_everywhere(self, job):
        for side in self.sides.values():
            self.try_run(side, job)

    def try_run(self, side, job):
        """Try a job at a broker with the best proof that can be made up from all that anybody signed."""
        self.count += 1
        run_id = f"run-{self.count}"
        borrowed = [vote for each in self.jobs if each is not job for name, vote in each.votes.items() if name not in job.votes]
        votes = [*job.votes.values()]
        lent = len(votes) < len(job.roster.members)
        for approvals in [votes, [*votes, *borrowed[-1:]]] if lent and borrowed else [votes]:
            bundle = ApprovalBundle(
                v=1,
                roster=job.roster.to_bytes().decode(),
                acceptances=tuple(each.decode() for each in self.acceptances[job.roster.digest]),
                approvals=tuple(approvals),
                withdrawals=(),
                log=None,
            )
            proof = self.world.prove(job.spec, bundle, run_id, {})
            self.follow(side)
            enclave = Enclave(self.world, job.spec, replace(bundle, log=proof), run_id=run_id)
            against = self.objections(side, job)
            answer = self.keys(side, enclave)
            self.tick(side)
            if isinstance(answer, Sealed):
                assert not against
                event("released")
                job.runs[side.owner.id] = job.runs.get(side.owner.id, 0) + 1
                again = Enclave(self.world, job.spec, enclave.bundle, run_id=run_id)
                assert not isinstance(self.keys(side, again), Sealed), "one run, two enclaves"
            else:
                assert against, answer
                event("refused")

    def keys(self, side, enclave):
        session, nonce = side.broker.begin(TeeKind.SIMULATED)
        answer = side.broker.attest(session, attest_body(enclave.request(nonce)).encode())
        if not isinstance(answer, Token):
            return answer
        answer = self.world.released(side.broker, session, workspace_id="ws-1", dataset_id=side.owner.dataset_id, version=1)
        self.follow(side)
        return answer

    def objections(self, side, job):
        """Everything that is true and speaks against a release, in the model's own words."""
        now, latest, roster = side.clock.now, max(side.latest, side.clock.now), job.roster
        ours = {each.id: each.public_key for each in roster.members if each.organisation_id == side.owner.id}
        seen = [side.first_seen.get(digest(vote.encode()), latest) for vote in job.votes.values()]
        newer = [each for each in self.in_force() if each.epoch > roster.epoch and self.fits(side, each)]
        found = {
            "a member has not signed this": {*job.votes} != {each.id for each in roster.members} or job.rejected,
            "a member has not signed the list": len(self.acceptances[roster.digest]) != len(roster.members),
            "the list names strangers as ours": not ours.items() <= side.pinned.items(),
            "the list leaves out one of ours": not self.fits(side, roster),
            "there is a newer list": bool(newer),
            "withdrawn": job.spec.digest in side.withdrawn,
            "vetoed": bool(side.vetoes - side.lifted),
            "not as deposited": side.owner.id in job.unlike,
            "the clock was set back": latest - now > SKEW,
            "the lease has ended": latest > ENDS,
            "a vote came late": any(at > REVIEWED_BY for at in seen),
            "all runs are used": job.runs.get(side.owner.id, 0) >= TERMS.max_runs,
        }
        return sorted(name for name, so in found.items() if so)

    def fits(self, side, roster):
        """Tell whether a list says of an organisation's people what is true."""
        ours = {each.id: each.public_key for each in roster.members if each.organisation_id == side.owner.id}
        stood = {each.id for other in self.in_force() if other.epoch < roster.epoch for each in other.members}
        return ours.items() <= side.pinned.items() and {*side.pinned} & stood <= {*ours}


TestDeceitModel = DeceitMachine.TestCase
TestDeceitModel.settings = settings(
    max_examples=9,
    stateful_step_count=12,
    derandomize=True,  # a fixed set here; the long mode looks for new ones
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.long
class TestDeceitModelAtLength(DeceitMachine.TestCase):
    settings = settings(TestDeceitModel.settings, max_examples=400, stateful_step_count=40, derandomize=False)
