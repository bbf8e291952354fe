"""The database administrator of the threat table: every table and every column changed, one change at a time, then a run.

The services, the log, the relay, both organisations' brokers and the agent's own checks are real; constraints are gone from the
database. Where everybody consents, a changed database gives the same keys for the same job, or none. Where somebody does not,
and the administrator has also written whatever the gate looks at, it gives none.
By default one change of each column, and one of the rows of each table, is tried; `-m long` tries all.
"""

import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from broker_house import BrokerHouse, Delivery, copy_broker, copy_database, fast_folder, try_run
from consortium import Consortium, open_consortium

from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.job import Code, JobSpec, Language
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import RunPolicy
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.services.answers import KeptAnswers
from opaque_jobs.services.review_log import keep_vote
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store.records import VoteRecord
from tests.support.row_mutations import TABLES, Mutation, mutations, sample, strip_constraints

COLUMNS = ("id", "value")
ORGANISATIONS = ("hospital", "laboratory")
FORGED = (
    "UPDATE revisions SET status = 'accepted'",
    "UPDATE jobs SET status = 'accepted', archived = 0",
    "DELETE FROM withdrawals",
    "UPDATE votes SET decision = 'approve'",
    "DELETE FROM runs WHERE state NOT IN ('queued', 'running')",
    "INSERT INTO dataset_shares SELECT id, (SELECT id FROM workspaces), 'member-anna', created_at FROM datasets",
)
TERMS = RerunTerms(
    max_runs=50, not_before=None, not_after="2026-12-31T00:00:00+00:00", min_interval_s=0, schedule=None, variable_inputs=()
)


@dataclass(frozen=True)
class State:
    """A state of the whole installation to come back to.

    Args:
        name: Of its copies.
        job_id: The job that is attacked.
        job_digest: Of its revision.
        run_id: A run of it; queued.
    """

    name: str
    job_id: str
    job_digest: str
    run_id: str


@dataclass
class Stand:
    """An installation with its brokers, whose states can be kept and brought back."""

    folder: Path
    cast: Consortium
    house: BrokerHouse

    @property
    def database(self) -> Path:
        return self.cast.home / "opaque-jobs.db"

    def kept(self, name: str) -> Path:
        return self.folder / "kept" / name

    def keep(self, name: str) -> None:
        self.kept(name).mkdir(parents=True)
        copy_database(self.database, self.kept(name) / "opaque-jobs.db")
        for each in ORGANISATIONS:
            (self.kept(name) / each).mkdir()
            copy_broker(self.house.broker_folder(each), self.kept(name) / each)

    def bring_back(self, name: str) -> None:
        copy_database(self.kept(name) / "opaque-jobs.db", self.database)
        for each in ORGANISATIONS:
            copy_broker(self.kept(name) / each, self.house.broker_folder(each))

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection:
            for each in statements:
                connection.execute(each)
            connection.commit()

    def deliveries(self, run_id: str) -> list[Delivery]:
        """Try a run; whatever fails on the way is a refusal."""
        try:
            _, agent = try_run(self.cast, run_id)
        except OpaqueJobsError:
            return []
        except Exception:  # noqa: BLE001 - a database of nonsense may break the services; what matters is what brokers gave
            return []
        return agent.deliveries

    def job(self, text: str, **over) -> str:
        return self.cast.make_job(code=Code(language=Language.SQL, text=text), **({"rerun_terms": TERMS} | over)).id


@pytest.fixture(scope="module")
def stand():
    folder = fast_folder("opaque-jobs-sql-")
    cast = open_consortium(folder / "home")
    cast.settle_in()
    try:
        with BrokerHouse(folder / "brokers") as house:
            house.open(cast)
            house.deposit(cast, "patients", "anna", columns=COLUMNS)
            house.deposit(cast, "findings", "lea", columns=COLUMNS)
            yield _prepared(Stand(folder, cast, house))
    finally:
        cast.services.close()
        shutil.rmtree(folder)


def _prepared(stand: Stand) -> Stand:
    """Give every table rows, and a past."""
    cast = stand.cast
    cast.change_key("mallory", SigningKey.generate())
    cast.services.queries.pin(
        actor=cast.id("anna"), workspace_id=cast.workspace_id, name="kept", code=Code(language=Language.SQL, text="select 1")
    )
    KeptAnswers(cast.services.context).begin(cast.id("anna"), "k" * 16, "asked", now=cast.clock())
    withdrawn = stand.job("select 2")
    cast.submit(withdrawn)
    cast.withdraw(withdrawn, "ben")
    other = stand.job("select count(*) as n from findings")
    cast.passed_test(other)
    cast.submit(other)
    for name in ("ben", "lea"):
        cast.vote(other, name)
    assert len(stand.deliveries(cast.open_run(other).id)) == 2
    stand.keep("older")
    return stand


def _accepted(stand: Stand) -> str:
    job = stand.job("select count(*) as n from patients")
    stand.cast.submit(job)
    stand.cast.vote(job, "ben")
    stand.cast.vote(job, "lea")
    return job


def _approved(stand: Stand) -> tuple[str, str]:
    job = _accepted(stand)
    return job, stand.cast.open_run(job).id


def _without_one_vote(stand: Stand) -> tuple[str, str]:
    job = stand.job("select count(*) as n from patients")
    stand.cast.submit(job)
    stand.cast.vote(job, "ben")
    return job, stand.cast.open_run(job).id


def _rejected(stand: Stand) -> tuple[str, str]:
    job, run = _without_one_vote(stand)
    stand.cast.vote(job, "lea", Decision.REJECT)
    return job, run


def _withdrawn(stand: Stand) -> tuple[str, str]:
    job, run = _approved(stand)
    stand.cast.withdraw(job, "lea")
    return job, run


def _of_an_older_epoch(stand: Stand) -> tuple[str, str]:
    job, run = _approved(stand)
    proposal = stand.cast.services.workspaces.propose_change(
        actor=stand.cast.id("anna"), workspace_id=stand.cast.workspace_id, run_policy=RunPolicy.ALL_MEMBERS
    )
    for name in ("anna", "ben", "lea"):
        stand.cast.accept(proposal, name)
    return job, run


def _unshared(stand: Stand) -> tuple[str, str]:
    job, run = _approved(stand)
    stand.cast.clock.forward(seconds=1)
    stand.cast.share("ds-findings", "lea", back=True)
    return job, run


def _used_up(stand: Stand) -> tuple[str, str]:
    job = stand.cast.accepted_job().id
    run, again = stand.cast.open_run(job).id, stand.cast.open_run(job).id
    assert len(stand.deliveries(run)) == 2
    return job, again


def _with_the_missing_vote(stand: Stand, job: str, run: str, revised: JobSpec | None = None) -> tuple[str, str]:
    """Add the vote that was held back, row and entry, as somebody with a member's key and the database can."""
    cast = stand.cast
    spec = revised or cast.spec(job)
    vote = VoteRecord(
        job_id=job,
        revision=spec.revision,
        member_id=cast.id("lea"),
        decision=Decision.APPROVE,
        comment=None,
        envelope=cast.sign(spec, "lea"),
        voted_at=cast.clock(),
    )
    stand.sql(f"DELETE FROM votes WHERE job_id = '{job}' AND member_id = 'member-lea'")  # noqa: S608 - our own id
    with cast.services.context.store.write() as session:
        keep_vote(cast.services.context, session, job_rows.revision(session, job, spec.revision), vote)
    return job, run


def _cancelled_then_completed(stand: Stand) -> tuple[str, str]:
    job, run = _without_one_vote(stand)
    stand.cast.cancel_review(job)
    return _with_the_missing_vote(stand, job, run)


def _rejected_then_completed(stand: Stand) -> tuple[str, str]:
    return _with_the_missing_vote(stand, *_rejected(stand))


def _expired_and_taken_back_then_completed(stand: Stand) -> tuple[str, str]:
    job = stand.job("select count(*) as n from patients")
    stand.cast.submit(job, deadline=stand.cast.clock() + timedelta(minutes=5))
    stand.cast.vote(job, "ben")
    run = stand.cast.open_run(job).id
    stand.cast.clock.forward(hours=1)
    stand.cast.services.reviews.expire_due()
    stand.cast.withdraw(job, "ben")
    return _with_the_missing_vote(stand, job, run)


def _superseded_by_revision(stand: Stand) -> tuple[str, str]:
    """A review that expired for want of one vote, and a next revision; who accepts that takes the earlier one back."""
    cast, job = stand.cast, stand.job("select count(*) as n from patients")
    cast.submit(job, deadline=cast.clock() + timedelta(minutes=5))
    cast.vote(job, "ben")
    earlier, run = cast.spec(job), cast.open_run(job).id
    cast.clock.forward(hours=1)
    cast.services.reviews.expire_due()
    cast.services.jobs.revise(actor=cast.id("anna"), job_id=job)
    cast.submit(job)
    for name in ("lea", "ben"):
        cast.vote(job, name)
    cast.withdraw(job, "ben", earlier)
    cast.withdraw(job, "ben")  # the later one too: what runs may be neither
    return _with_the_missing_vote(stand, job, run, earlier)


SCENES: dict[str, Callable[[Stand], tuple[str, str]]] = {
    "without-one-vote": _without_one_vote,
    "rejected": _rejected,
    "withdrawn": _withdrawn,
    "cancelled-then-completed": _cancelled_then_completed,
    "rejected-then-completed": _rejected_then_completed,
    "expired-and-taken-back-then-completed": _expired_and_taken_back_then_completed,
    "superseded-by-revision": _superseded_by_revision,
    "of-an-older-epoch": _of_an_older_epoch,
    "unshared": _unshared,
    "used-up": _used_up,
}


def _state(stand: Stand, name: str, scene: Callable[[Stand], tuple[str, str]], *forged: str) -> State:
    """Play a scene after the past, take the constraints away, and keep what came of it."""
    stand.bring_back("older")
    job, run = scene(stand)
    state = State(name, job, stand.cast.spec(job).digest, run)
    with closing(sqlite3.connect(stand.database)) as connection:
        strip_constraints(connection)
    stand.sql(*forged)
    stand.keep(name)
    return state


def _all_mutations(stand: Stand, state: State) -> list[Mutation]:
    paths = [stand.kept(name) / "opaque-jobs.db" for name in (state.name, "older")]
    with closing(sqlite3.connect(paths[0])) as now, closing(sqlite3.connect(paths[1])) as older:
        return list(mutations(now, older))


def _attack(stand: Stand, state: State, mutation: Mutation) -> list[Delivery]:
    """Change one thing, try the waiting run, and then a new one."""
    stand.bring_back(state.name)
    with closing(sqlite3.connect(stand.database)) as connection:
        mutation.apply(connection)
    given = stand.deliveries(state.run_id)
    if not given:
        try:
            run = stand.cast.open_run(state.job_id)
        except Exception:  # noqa: BLE001 - as above
            return []
        given = stand.deliveries(run.id)
    return given


def _what(deliveries: list[Delivery]) -> set[tuple[object, ...]]:
    return {(each.organisation, each.dataset, each.version, each.job_digest, each.columns, each.row_rule) for each in deliveries}


def _sweep(stand: Stand, chosen: list[Mutation], state: State, allowed: set[tuple[object, ...]]) -> dict[str, Counter[str]]:
    tried: dict[str, Counter[str]] = defaultdict(Counter)
    for mutation in chosen:
        given = _attack(stand, state, mutation)
        assert _what(given) <= allowed, f"{mutation} of a database {state.name}"
        tried[mutation.table]["released as approved" if given else "refused"] += 1
    for table, counts in sorted(tried.items()):
        print(f"{state.name}: {table}: {dict(counts)}")  # noqa: T201 - shown with -rP
    return tried


@pytest.fixture(scope="module")
def approved(stand) -> tuple[State, set[tuple[object, ...]]]:
    state = _state(stand, "accepted", _approved)
    stand.bring_back(state.name)
    given = _what(stand.deliveries(state.run_id))
    assert {(each[0], each[3]) for each in given} == {(f"org-{name}", state.job_digest) for name in ORGANISATIONS}
    return state, given


def test_every_table_has_rows_that_are_attacked(stand, approved):
    generated = _all_mutations(stand, approved[0])
    assert {each.table for each in generated if each.kind == "deleted"} == set(TABLES)


def test_changed_database_of_an_approved_job_releases_the_same_or_nothing(stand, approved):
    state, allowed = approved
    tried = _sweep(stand, sample(_all_mutations(stand, state)), state, allowed)
    assert set(tried) == set(TABLES)
    assert sum(counts["refused"] for counts in tried.values()) > 25


@pytest.mark.parametrize("name", list(SCENES))
def test_changed_database_of_a_job_without_consent_releases_nothing(stand, name):
    state = _state(stand, name, SCENES[name], *FORGED)
    chosen = sorted(sample(_all_mutations(stand, state)), key=lambda each: each.order)[:12]
    _sweep(stand, chosen, state, set())


@pytest.mark.long
def test_every_change_to_the_database_of_an_approved_job_releases_the_same_or_nothing(stand, approved):
    state, allowed = approved
    _sweep(stand, _all_mutations(stand, state), state, allowed)


@pytest.mark.long
@pytest.mark.parametrize("name", list(SCENES))
def test_every_change_to_the_database_of_a_job_without_consent_releases_nothing(stand, name):
    state = _state(stand, f"{name}-long", SCENES[name], *FORGED)
    _sweep(stand, _all_mutations(stand, state), state, set())
