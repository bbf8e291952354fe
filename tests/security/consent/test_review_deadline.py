"""A review's deadline, signed by all: a vote that was held back completes nothing afterwards, whatever the database says."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from broker_house import BrokerHouse, fast_folder, try_run
from consortium import Consortium, open_consortium
from own_files import write_own_files

from opaque_jobs.broker.monitor import followed_to
from opaque_jobs.client.reviews import cast_vote, submit_job
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError, OpaqueJobsError, TrustError
from opaque_jobs.runner.relay import bring_logs_in_time
from opaque_jobs.services.review_log import keep_vote
from opaque_jobs.standalone.local_session import local_session
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store.records import VoteRecord


class Desk:
    """A job under review for an hour, which ben has approved and lea not yet."""

    def __init__(self, cast: Consortium) -> None:
        self.cast = cast
        self.job = cast.make_job().id
        cast.submit(self.job, deadline=cast.clock() + timedelta(hours=1))
        cast.vote(self.job, "ben")

    @property
    def spec(self) -> JobSpec:
        return self.cast.spec(self.job)

    def enter(self, envelope: bytes) -> None:
        """Add lea's vote, row and entry, as somebody with the database can."""
        vote = VoteRecord(
            job_id=self.job,
            revision=1,
            member_id=self.cast.id("lea"),
            decision=Decision.APPROVE,
            comment=None,
            envelope=envelope,
            voted_at=self.cast.clock(),
        )
        with self.cast.services.context.store.write() as session:
            keep_vote(self.cast.services.context, session, job_rows.revision(session, self.job, 1), vote)

    def bring(self) -> None:
        bring_logs_in_time(self.cast.services.context)

    def run(self) -> tuple[int, tuple[str, ...]]:
        """Forge what the services look at; give how many keys a run gets, and the reasons against."""
        with closing(sqlite3.connect(self.cast.home / "opaque-jobs.db")) as database, database:
            for table in ("revisions", "jobs"):
                database.execute(f"UPDATE {table} SET status = 'accepted'")  # noqa: S608 - one of two words
            database.execute("UPDATE revisions SET deadline = NULL")
        _, agent = try_run(self.cast, self.cast.open_run(self.job).id)
        return len(agent.deliveries), agent.reasons


@pytest.fixture
def house():
    folder = fast_folder("opaque-jobs-deadline-")
    made = open_consortium(folder / "home")
    made.settle_in()
    try:
        with BrokerHouse(folder / "brokers") as brokers:
            brokers.open(made)
            brokers.deposit(made, "patients", "anna", columns=("id", "value"))
            brokers.deposit(made, "findings", "lea", columns=("id", "value"))
            brokers.cast = made
            yield brokers
    finally:
        made.services.close()
        shutil.rmtree(folder)


@pytest.fixture
def cast(house):
    return house.cast


@pytest.fixture
def desk(cast):
    return Desk(cast)


def test_review_that_was_complete_in_time_runs_after_its_deadline(desk):
    desk.cast.vote(desk.job, "lea")
    desk.bring()
    desk.cast.clock.forward(hours=2)
    assert desk.run() == (2, ())


def test_vote_that_was_held_back_completes_nothing_after_the_deadline(desk):
    held = desk.cast.sign(desk.spec, "lea")
    desk.bring()
    begun = desk.cast.clock()
    desk.enter(held)  # what the keeper says of the time of an entry is its word
    desk.cast.clock.forward(hours=2)
    assert desk.cast.services.logs.entries(desk.cast.workspace_id, actor=desk.cast.id("lea"))[-1].entry.at == begun.isoformat()
    assert desk.run() == (0, ("approval-too-late",))


def test_vote_that_names_a_time_after_the_deadline_is_refused_in_every_hand(desk):
    desk.cast.clock.forward(hours=2)
    late = desk.cast.sign(desk.spec, "lea")
    desk.cast.clock.moment -= timedelta(hours=2)
    with pytest.raises(TrustError) as caught:
        desk.cast.services.reviews.vote(job_id=desk.job, envelope=late)
    assert caught.value.facts["reasons"] == "approval-too-late"
    desk.enter(late)
    desk.bring()
    with pytest.raises(OpaqueJobsError):
        desk.run()


def test_broker_that_was_not_shown_the_log_in_time_refuses(desk):
    desk.cast.vote(desk.job, "lea")
    desk.cast.clock.forward(hours=2)
    assert desk.run() == (0, ("approval-too-late",))


def test_broker_that_is_away_keeps_no_other_from_seeing_the_log_and_sees_it_later(desk, house):
    desk.cast.vote(desk.job, "lea")
    desk.cast.services.workspaces.move_broker("org-hospital", broker_address="http://127.0.0.1:1")
    desk.bring()
    desk.cast.services.workspaces.move_broker("org-hospital", broker_address=house.addresses["hospital"])
    seen = {name: followed_to(broker, desk.cast.workspace_id) for name, broker in house.brokers.items()}
    assert seen["hospital"] == 0 < seen["laboratory"]
    desk.bring()
    desk.cast.clock.forward(hours=2)
    assert desk.run() == (2, ())


def test_own_client_signs_nothing_after_the_signed_deadline_though_the_database_says_otherwise(cast):
    cast.clock.moment = datetime.now(UTC) - timedelta(days=1)
    lea, job = cast.people["lea"], cast.make_job().id
    cast.submit(job, deadline=cast.clock() + timedelta(hours=1))
    with pytest.raises(ConflictError, match="deadline"):
        cast_vote(
            local_session(cast.services, lea.entry),
            lea.entry,
            lea.key,
            job,
            decision=Decision.APPROVE,
            expected_digest=cast.spec(job).digest,
        )


def test_deadline_is_signed_with_the_job_and_the_test_of_the_draft_counts(cast):
    cast.clock.moment = datetime.now(UTC)
    write_own_files(cast, "anna")
    anna, job = cast.people["anna"], cast.make_job().id
    until = cast.clock() + timedelta(days=1)
    seen = cast.services.jobs.spec_for_submission(job, actor=anna.entry.id).digest
    tested = cast.passed_test(job)
    view = submit_job(
        local_session(cast.services, anna.entry),
        anna.entry,
        anna.key,
        job,
        test_run_id=tested,
        deadline=until,
        expected_digest=seen,
    )
    assert (view.deadline, cast.spec(job).review_until) == (until, until.isoformat())
