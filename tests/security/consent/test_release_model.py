"""Consent against a tiny model: whatever members, owners, brokers and crashes do, keys go out if and only if all consent now.

The model is a few sets and knows no signatures, nor when and how a broker hears what people signed: by the log, carried
early or late in pages of any size, or told directly, before the services know it or after, and again. A broker from which the log
is kept, or whose pins lag behind the member list, releases nothing until it has caught up. When not even the services let a run
begin, it is tried a second time against a copy in which somebody with the database has written whatever their own gate looks at,
so that it is the brokers that must refuse.
"""

import atexit
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from broker_house import BrokerHouse, copy_broker, copy_database, fast_folder, try_run
from consortium import copy_consortium, open_consortium
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import RunPolicy
from opaque_jobs.errors import OpaqueJobsError

OWNERS = {"hospital": "anna", "laboratory": "lea"}
DATA = {"patients": "anna", "findings": "lea"}
HOMES = {"anna": "hospital", "ben": "hospital", "lea": "laboratory", "mallory": "laboratory"}
NOTHING = {"roster": None, "acceptances": (), "earlier": (), "withdrawals": (), "sharings": (), "holds": ()}
TOLD = st.sampled_from(("before the services", "after the services", "by the log alone"))
TERMS = RerunTerms(
    max_runs=3, not_before=None, not_after="2026-12-31T00:00:00+00:00", min_interval_s=0, schedule=None, variable_inputs=()
)
FORGED = (
    "UPDATE revisions SET status = 'accepted'",
    "UPDATE jobs SET status = 'accepted'",
    "DELETE FROM withdrawals",
    "UPDATE votes SET decision = 'approve'",
    "DELETE FROM runs",
    "INSERT OR IGNORE INTO dataset_shares SELECT id, (SELECT id FROM workspaces), 'member-anna', created_at FROM datasets",
)
_kept: list = []


def _origin():
    """Enlist once a process; every example works on a copy. The servers stay, the brokers behind them change."""
    if not _kept:
        folder = fast_folder("opaque-jobs-release-model-")
        cast = open_consortium(folder / "origin")
        cast.settle_in()
        house = BrokerHouse(folder)
        house.open(cast)
        cast.services.close()
        _kept.extend((folder, cast, house))
        atexit.register(shutil.rmtree, folder)
        atexit.register(house.__exit__)
    return _kept


@dataclass
class Job:
    """What the model knows of a job."""

    electorate: frozenset[str]
    approved: set[str] = field(default_factory=lambda: {"anna"})
    dead: bool = False
    runs: int = 0


class ReleaseMachine(RuleBasedStateMachine):
    """A workspace, its jobs, and the brokers of two organisations."""

    def __init__(self):
        super().__init__()
        _, origin, self.house = _origin()
        self.folder = fast_folder("opaque-jobs-release-example-")
        self.cast = copy_consortium(origin, self.folder / "home")
        self.house.folder = self.folder / "brokers"
        self.house.open(self.cast)
        self.house.deaf = set()
        for name, owner in DATA.items():
            self.house.deposit(self.cast, name, owner, columns=("id", "value"))
        self.pinned = {name: person.entry for name, person in self.cast.people.items()}
        self.listed = {name: self.pinned[name] for name in ("anna", "ben", "lea")}
        self.stood, self.jobs, self.told = set(self.listed), {}, []
        self.held, self.unshared, self.lost, self.given = set(), set(), set(), 0

    def teardown(self):
        self.cast.services.close()
        shutil.rmtree(self.folder)

    def lags(self, name):
        """Tell whether a pin waits to be made, renewed, or taken off somebody who left."""
        return name in self.stood and self.pinned[name] != self.listed.get(name)

    def consents(self, job):
        lively = not (self.held or self.unshared or self.lost or self.house.deaf or any(map(self.lags, HOMES)))
        return lively and not job.dead and job.approved == job.electorate and job.runs < TERMS.max_runs

    def pick(self, data, wanted=lambda _job: True):
        found = sorted(key for key, job in self.jobs.items() if wanted(job))
        return data.draw(st.sampled_from(found)) if found else None

    @initialize(entries=st.integers(0, 5))
    def begin_with_one_that_runs(self, entries):
        for owner in OWNERS if entries else ():
            self.tell(owner)
            self.house.carry(owner, self.cast, entries=entries, pages=4)
        self.submit("all")
        self.try_any()

    @precondition(lambda self: sum(not job.dead for job in self.jobs.values()) < 4 and not self.unshared)
    @rule(votes=st.sampled_from(("all", "all", "but one", "none")))
    def submit(self, votes):
        job_id = self.cast.make_job(rerun_terms=TERMS).id
        self.cast.submit(job_id)
        self.jobs[job_id] = job = Job(frozenset(self.listed))
        for name in {"all": sorted(self.listed)[1:], "but one": sorted(self.listed)[1:-1], "none": ()}[votes]:
            self.cast.vote(job_id, name)
            job.approved.add(name)

    @precondition(lambda self: not self.unshared)
    @rule(data=st.data(), reject=st.booleans())
    def vote(self, data, reject):
        job_id = self.pick(data, lambda job: not job.dead and job.approved != job.electorate)
        if job_id is None:
            return
        job = self.jobs[job_id]
        name = data.draw(st.sampled_from(sorted(job.electorate - job.approved)))
        self.cast.vote(job_id, name, Decision.REJECT if reject else Decision.APPROVE)
        job.dead |= reject
        job.approved |= set() if reject else {name}

    @rule(data=st.data(), name=st.sampled_from(("anna", "ben", "lea")), told=TOLD)
    def withdraw(self, data, name, told):
        job_id = self.pick(data, lambda job: not job.dead)
        if job_id is None:
            return
        self.jobs[job_id].dead = True
        said = {"withdrawals": (self.cast.withdrawal(self.cast.spec(job_id), name),)}
        if told == "before the services":
            self.tell(HOMES[name], **said)
            self.try_run_of(job_id)
        self.cast.withdraw(job_id, name)
        if told == "after the services":
            self.tell(HOMES[name], **said)
        self.try_run_of(job_id)

    @rule(late=st.booleans(), data=st.data())
    def mallory_comes_or_goes(self, late, data):
        names = sorted({*self.listed} ^ {"mallory"})
        self.propose_change(member_ids=[self.cast.id(name) for name in names])
        self.begin_a_new_epoch(data, names, "mallory", late)

    @rule(late=st.booleans(), data=st.data())
    def ben_changes_his_key(self, late, data):
        self.cast.change_key("ben", SigningKey.generate())
        self.begin_a_new_epoch(data, sorted(self.listed), "ben", late)

    @rule(data=st.data())
    def members_change_a_rule(self, data):
        roster = self.cast.services.workspaces.show(self.cast.workspace_id, actor=self.cast.id("anna")).roster
        self.propose_change(run_policy=RunPolicy.ALL_MEMBERS if roster.run_policy is RunPolicy.AUTHOR else RunPolicy.AUTHOR)
        self.begin_a_new_epoch(data, sorted(self.listed), None, late=True)

    def propose_change(self, **change):
        self.cast.services.workspaces.propose_change(actor=self.cast.id("anna"), workspace_id=self.cast.workspace_id, **change)

    def begin_a_new_epoch(self, data, names, who, late):
        """Let all accept a list, with who comes, goes or changes their key pinned before it or not yet."""
        if not late:
            self.pin(who, self.cast.people[who].entry if who in names else None)
        *most, last = data.draw(st.permutations(names))
        self.cast.accept_waiting(*most)
        self.carry_some(data)
        if late:
            self.try_any()
        self.cast.accept_waiting(last)
        self.listed = {name: self.cast.people[name].entry for name in names}
        self.stood |= set(names)
        for job in self.jobs.values():
            job.dead = True
        self.carry_some(data)
        self.try_any()
        if not self.unshared:
            self.submit("all")
            self.try_any()

    def pin(self, name, entry):
        if entry is not None:
            self.house.pin(HOMES[name], self.cast, entry)
        elif self.pinned[name] is not None:
            self.house.unpin(HOMES[name], self.cast, self.cast.id(name))
        self.pinned[name] = entry

    @precondition(lambda self: any(map(self.lags, HOMES)))
    @rule()
    def pins_catch_up(self):
        for name in filter(self.lags, HOMES):
            self.pin(name, self.listed.get(name))
        self.try_any()

    @rule(owner=st.sampled_from(sorted(OWNERS)))
    def log_is_kept_from_a_broker_or_no_longer(self, owner):
        """Nothing is missing then but what comes from here on: the run itself."""
        if owner not in self.lost:
            self.house.carry(owner, self.cast, entries=999, pages=1)
        self.house.deaf ^= {owner}
        self.try_any()

    def carry_some(self, data):
        """Bring some brokers some of the log, in pages of a few entries."""
        for owner in data.draw(st.sets(st.sampled_from(sorted(OWNERS)))) - self.lost:
            entries, pages = data.draw(st.sampled_from(((1, 1), (1, 4), (3, 2), (3, 9))))
            self.house.carry(owner, self.cast, entries=entries, pages=pages)

    @rule(owner=st.sampled_from(sorted(OWNERS)), data=st.data())
    def broker_is_told(self, owner, data):
        """Tell what is so now, or again what was so once."""
        at = data.draw(st.integers(0, len(self.told)))
        if at == 0:
            self.tell(owner)
        else:
            self.house.tell(owner, self.cast, self.told[-at])
        self.try_any()

    def tell(self, owner, **more):
        """Tell a broker twice the member list in force, all before it, and more; it believes that unless its pins lag."""
        push = self.cast.services.workspaces.broker_push(self.cast.workspace_id, actor=self.cast.id("anna"))
        said = NOTHING | {name: getattr(push, name) for name in ("roster", "acceptances", "earlier", "withdrawals")} | more
        lags = any(self.lags(name) for name, home in HOMES.items() if home == owner)
        assert [self.house.tell(owner, self.cast, said) for _ in range(2)] == [not lags] * 2
        self.told.append(said)

    @rule(owner=st.sampled_from(sorted(OWNERS)))
    def hold_or_let_go(self, owner):
        self.cast.clock.forward(seconds=1)
        hold = self.cast.hold(OWNERS[owner], held=owner not in self.held)
        self.told.append(NOTHING | {"holds": (hold,)})
        assert self.house.tell(owner, self.cast, self.told[-1])
        self.held ^= {owner}
        self.try_any()

    @rule(name=st.sampled_from(sorted(DATA)), told=TOLD)
    def share_or_take_back(self, name, told):
        self.cast.clock.forward(seconds=1)
        owner, dataset, back = DATA[name], f"ds-{name}", name not in self.unshared
        said = {"sharings": (self.cast.sharing(dataset, owner, shared=not back),)}
        self.unshared ^= {name}
        if told == "before the services":
            self.tell(HOMES[owner], **said)
            if back:
                self.try_any()
        self.cast.share(dataset, owner, back=back)
        if told == "after the services":
            self.tell(HOMES[owner], **said)
        self.try_any()

    @rule(owner=st.sampled_from(sorted(OWNERS)), data=st.data())
    def broker_crashes_and_the_log_is_carried(self, owner, data):
        self.house.restart(owner, self.cast)
        self.carry_some(data)

    @precondition(lambda self: self.given)
    @rule(owner=st.sampled_from(sorted(OWNERS)))
    def broker_is_set_back_to_before_the_last_release(self, owner):
        copy_database(self.folder / f"before-{owner}.db", self.house.broker_folder(owner) / "broker.db")
        self.house.restart(owner, self.cast)
        self.lost.add(owner)
        self.try_any()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def run(self, data):
        self.try_run_of(self.pick(data))

    def try_any(self):
        """Try the job that would run if what just happened had not."""
        able = [key for key, job in self.jobs.items() if job.approved == job.electorate and job.runs < TERMS.max_runs]
        if able:
            self.try_run_of(able[-1])

    def try_run_of(self, job_id):
        job = self.jobs[job_id]
        if not self.consents(job):
            given, reasons = self.attempt(job_id)
            assert given == []
            if reasons:
                event("refused by brokers")
            else:
                event("refused by services")
                self.attempt_with_a_forged_database(job_id)
            return
        for owner in OWNERS:
            copy_database(self.house.broker_folder(owner) / "broker.db", self.folder / f"before-{owner}.db")
        given, _ = self.attempt(job_id)
        digest = self.cast.spec(job_id).digest
        assert {(each.organisation, each.job_digest) for each in given} == {(f"org-{name}", digest) for name in OWNERS}
        event("released with consent")
        job.runs += 1
        self.given += 1

    def attempt(self, job_id):
        try:
            _, agent = try_run(self.cast, self.cast.open_run(job_id).id)
        except OpaqueJobsError:
            return [], ()
        return agent.deliveries, agent.reasons

    def attempt_with_a_forged_database(self, job_id):
        """Try once more as somebody who writes the database, then make it undone."""
        database, aside = self.cast.home / "opaque-jobs.db", self.folder / "aside"
        aside.mkdir(exist_ok=True)
        copy_database(database, aside / "opaque-jobs.db")
        for owner in OWNERS:
            (aside / owner).mkdir(exist_ok=True)
            copy_broker(self.house.broker_folder(owner), aside / owner)
        with closing(sqlite3.connect(database)) as connection:
            for statement in FORGED:
                connection.execute(statement)
            connection.commit()
        given, reasons = self.attempt(job_id)
        assert given == []
        assert reasons or self.jobs[job_id].approved != self.jobs[job_id].electorate, "the brokers were not asked"
        copy_database(aside / "opaque-jobs.db", database)
        for owner in OWNERS:
            copy_broker(aside / owner, self.house.broker_folder(owner))

    @invariant()
    def brokers_count_what_the_model_counts(self):
        for owner in set(OWNERS) - self.lost:
            with closing(sqlite3.connect(self.house.broker_folder(owner) / "broker.db")) as connection:
                released = connection.execute("SELECT count(*) FROM releases").fetchone()[0]
            assert released == self.given


TestReleaseModel = ReleaseMachine.TestCase
TestReleaseModel.settings = settings(
    max_examples=9,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.long
class TestReleaseModelAtLength(ReleaseMachine.TestCase):
    settings = settings(TestReleaseModel.settings, max_examples=300, stateful_step_count=40)
