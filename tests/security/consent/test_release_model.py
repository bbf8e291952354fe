"""Consent against a tiny model: whatever members, owners, brokers and crashes do, keys go out if and only if all consent now.

The model is a few sets and knows nothing of signatures. When it says no, the run is tried a second time against a copy in which
somebody with the database has written whatever the services' own gate looks at, so that it is the brokers that must refuse.
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

from opaque_jobs.broker.config import pin_member, unpin_member
from opaque_jobs.broker.statements import Statements, accept_statements
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.release import sign_hold
from opaque_jobs.domain.release import Hold, HoldScope
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import RunPolicy
from opaque_jobs.errors import OpaqueJobsError

OWNERS = {"hospital": "anna", "laboratory": "lea"}
DATA = {"patients": "anna", "findings": "lea"}
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
        for name, owner in DATA.items():
            self.house.deposit(self.cast, name, owner, columns=("id", "value"))
        self.members, self.jobs = {"anna", "ben", "lea"}, {}
        self.held, self.unshared, self.lost, self.given = set(), set(), set(), 0

    def teardown(self):
        self.cast.services.close()
        shutil.rmtree(self.folder)

    def consents(self, job):
        lively = not (self.held or self.unshared or self.lost)
        return lively and not job.dead and job.approved == job.electorate and job.runs < TERMS.max_runs

    def pick(self, data, wanted=lambda _job: True):
        found = sorted(key for key, job in self.jobs.items() if wanted(job))
        return data.draw(st.sampled_from(found)) if found else None

    @initialize()
    def begin_with_one_that_runs(self):
        self.submit("all")
        self.try_any()

    @precondition(lambda self: len(self.jobs) < 4 and not self.unshared)
    @rule(votes=st.sampled_from(("all", "all", "but one", "none")))
    def submit(self, votes):
        job_id = self.cast.make_job(rerun_terms=TERMS).id
        self.cast.submit(job_id)
        self.jobs[job_id] = job = Job(frozenset(self.members))
        for name in {"all": sorted(self.members)[1:], "but one": sorted(self.members)[1:-1], "none": ()}[votes]:
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

    @rule(data=st.data(), name=st.sampled_from(("anna", "ben", "lea")))
    def withdraw(self, data, name):
        job_id = self.pick(data, lambda job: not job.dead)
        if job_id is not None:
            self.cast.withdraw(job_id, name)
            self.jobs[job_id].dead = True
            self.try_run_of(job_id)

    @rule(how=st.sampled_from(("members", "key", "rule")))
    def begin_a_new_epoch(self, how):
        {"members": self.mallory_comes_or_goes, "key": self.ben_changes_his_key, "rule": self.members_change_a_rule}[how]()
        for job in self.jobs.values():
            job.dead = True
        self.try_any()

    def mallory_comes_or_goes(self):
        mallory, folder = self.cast.people["mallory"], self.house.broker_folder("laboratory")
        if "mallory" in self.members:
            unpin_member(folder, mallory.id)
        else:
            pin_member(folder, mallory.entry)
        self.members ^= {"mallory"}
        self.cast.change_members(*sorted(self.members))

    def ben_changes_his_key(self):
        self.cast.change_key("ben", SigningKey.generate())
        pin_member(self.house.broker_folder("hospital"), self.cast.people["ben"].entry)
        self.cast.accept_waiting(*sorted(self.members))

    def members_change_a_rule(self):
        roster = self.cast.services.workspaces.show(self.cast.workspace_id, actor=self.cast.id("anna")).roster
        other = RunPolicy.ALL_MEMBERS if roster.run_policy is RunPolicy.AUTHOR else RunPolicy.AUTHOR
        proposal = self.cast.services.workspaces.propose_change(
            actor=self.cast.id("anna"), workspace_id=self.cast.workspace_id, run_policy=other
        )
        for name in sorted(self.members):
            self.cast.accept(proposal, name)

    @rule(owner=st.sampled_from(sorted(OWNERS)))
    def hold_or_let_go(self, owner):
        self.cast.clock.forward(seconds=1)
        organisation, broker = f"org-{owner}", self.house.brokers[owner]
        hold = Hold(
            v=1,
            organisation_id=organisation,
            scope=HoldScope.ALL,
            subject=organisation,
            held=owner not in self.held,
            issued_at=self.cast.clock().isoformat(),
        )
        envelope = sign_hold(hold, self.cast.people[OWNERS[owner]].key).decode()
        accept_statements(
            broker, Statements(roster=None, acceptances=(), earlier=(), withdrawals=(), sharings=(), holds=(envelope,))
        )
        self.held ^= {owner}
        self.try_any()

    @rule(name=st.sampled_from(sorted(DATA)))
    def share_or_take_back(self, name):
        self.cast.clock.forward(seconds=1)
        self.cast.share(f"ds-{name}", DATA[name], back=name not in self.unshared)
        self.unshared ^= {name}
        self.try_any()

    @rule(owner=st.sampled_from(sorted(OWNERS)))
    def broker_crashes(self, owner):
        self.house.restart(owner, self.cast)

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
            assert self.attempt(job_id) == []
            self.attempt_with_a_forged_database(job_id)
            event("refused without consent")
            return
        for owner in OWNERS:
            copy_database(self.house.broker_folder(owner) / "broker.db", self.folder / f"before-{owner}.db")
        given = self.attempt(job_id)
        digest = self.cast.spec(job_id).digest
        assert {(each.organisation, each.job_digest) for each in given} == {(f"org-{name}", digest) for name in OWNERS}
        event("released with consent")
        job.runs += 1
        self.given += 1

    def attempt(self, job_id):
        try:
            _, agent = try_run(self.cast, self.cast.open_run(job_id).id)
        except OpaqueJobsError:
            return []
        return agent.deliveries

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
        assert self.attempt(job_id) == []
        copy_database(aside / "opaque-jobs.db", database)
        for owner in OWNERS:
            copy_broker(aside / owner, self.house.broker_folder(owner))

    @invariant()
    def brokers_count_what_the_model_counts(self):
        for owner in set(OWNERS) - self.lost:
            with closing(sqlite3.connect(self.house.broker_folder(owner) / "broker.db")) as connection:
                released = connection.execute("SELECT count(*) FROM releases WHERE logged = 1").fetchone()[0]
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
