"""The store on SQLite and PostgreSQL: migrations, closed words, times, one writer at a time, compare-and-set."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from opaque_jobs.domain.lifecycle import JobEvent, JobStatus, WorkspaceEvent, WorkspaceStatus
from opaque_jobs.errors import ConfigurationError, ConflictError
from opaque_jobs.store import events, jobs, people, workspaces
from opaque_jobs.store.gate_reader import GateReader
from opaque_jobs.store.migrate import alembic_config, migrate
from opaque_jobs.store.records import JobRecord, MemberRecord, OrganisationRecord, WorkspaceRecord
from opaque_jobs.store.session import SCHEMA_VERSION, VERSION_TABLE, open_store
from opaque_jobs.store.tables import Base

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def make_job(**over):
    given = {
        "id": "job-1",
        "workspace_id": "ws-1",
        "author_id": "member-1",
        "status": JobStatus.DRAFT,
        "archived": False,
        "next_revision": 1,
        "draft": b"{}",
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return JobRecord(**(given | over))


@pytest.fixture
def filled(store):
    with store.write() as session:
        people.add_organisation(
            session,
            OrganisationRecord(
                id="org-1",
                name="one",
                sealing_key="s",
                broker_deposit_key="d",
                broker_signing_key="k",
                broker_address="http://127.0.0.1:1",
                created_at=NOW,
            ),
        )
        people.add_member(session, MemberRecord(id="member-1", name="m", organisation_id="org-1", public_key="p", created_at=NOW))
        workspaces.add_workspace(
            session,
            WorkspaceRecord(id="ws-1", name="w", description="", status=WorkspaceStatus.PENDING, version=1, created_at=NOW),
        )
        jobs.add_job(session, make_job())
    return store


def test_migrated_tables_are_exactly_those_of_the_program(store):
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_schema_version_is_the_head_of_the_migrations(store):
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == SCHEMA_VERSION
    store.check_version()


def test_migrating_again_changes_nothing_and_loses_nothing(filled, database_url):
    migrate(database_url)
    with filled.read() as session:
        assert jobs.job(session, "job-1") == make_job()


def test_migrating_at_the_same_time_makes_the_tables_once(database_url):
    problems = []

    def work():
        try:
            migrate(database_url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must tell
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    store = open_store(database_url)
    store.check_version()
    store.close()


def test_downgrade_leaves_no_table_behind(store):
    from alembic import command

    with store.write() as session:
        config = alembic_config()
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "base")
    assert set(inspect(store.engine).get_table_names()) <= {VERSION_TABLE}


def test_database_without_tables_is_told(database_url):
    store = open_store(database_url)
    with pytest.raises(ConfigurationError):
        store.check_version()
    store.close()


def test_times_come_back_aware_and_in_utc(filled):
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    with filled.write() as session:
        jobs.add_job(session, make_job(id="job-2", created_at=elsewhere))
    with filled.read() as session:
        found = jobs.job(session, "job-2").created_at
    assert (found, found.utcoffset()) == (NOW, timedelta(0))


def test_word_outside_its_closed_list_is_refused(filled):
    with pytest.raises(ConflictError), filled.write() as session:
        session.execute(text("UPDATE jobs SET status = 'approved'"))


def test_reference_to_nothing_is_refused(filled):
    with pytest.raises(ConflictError), filled.write() as session:
        jobs.add_job(session, make_job(id="job-2", workspace_id="ws-none"))


def test_exception_undoes_the_whole_transaction(filled):
    with pytest.raises(ZeroDivisionError), filled.write() as session:  # noqa: PT012 - the exception is the point
        jobs.apply_job_event(session, jobs.job(session, "job-1"), JobEvent.SUBMIT, actor="member-1", now=NOW)
        raise ZeroDivisionError
    with filled.read() as session:
        assert jobs.job(session, "job-1").status is JobStatus.DRAFT
        assert events.events_of(session, "job-1") == []


def test_transition_writes_its_event_in_the_same_transaction(filled):
    with filled.write() as session:
        jobs.apply_job_event(session, jobs.job(session, "job-1"), JobEvent.SUBMIT, actor="member-1", now=NOW)
    with filled.read() as session:
        (event,) = events.events_of(session, "job-1")
    assert (event.event, event.actor, event.noun) == ("submit", "member-1", "job")


def test_transition_of_an_outdated_record_is_refused(filled):
    with filled.read() as session:
        stale = jobs.job(session, "job-1")
    with filled.write() as session:
        jobs.set_job(session, stale, event="edit", actor="member-1", now=NOW, draft=b"{1}")
    with pytest.raises(ConflictError), filled.write() as session:
        jobs.apply_job_event(session, stale, JobEvent.SUBMIT, actor="member-1", now=NOW)
    with filled.read() as session:
        assert jobs.job(session, "job-1").status is JobStatus.DRAFT


def test_of_many_racing_transitions_exactly_one_wins(filled):
    with filled.read() as session:
        stale = workspaces.workspace(session, "ws-1")
    won, lost = [], []
    start = threading.Barrier(6)

    def race():
        start.wait()
        try:
            with filled.write() as session:
                workspaces.apply_event(session, stale, WorkspaceEvent.ACTIVATE, actor=None, now=NOW)
            won.append(1)
        except ConflictError:
            lost.append(1)

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)


def test_writers_that_read_first_do_not_lose_an_update(filled):
    start = threading.Barrier(5)

    def count_up():
        start.wait()
        for _ in range(5):
            with filled.write() as session:
                record = jobs.job(session, "job-1")
                jobs.set_job(session, record, event="edit", actor="member-1", now=NOW, next_revision=record.next_revision + 1)

    threads = [threading.Thread(target=count_up) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with filled.read() as session:
        assert jobs.job(session, "job-1").next_revision == 26


async def test_gate_reader_answers_many_ids_and_knows_none(filled, database_url):
    reader = GateReader(database_url)
    try:
        wanted = [f"run-{number}" for number in range(1500)]
        assert set((await reader(wanted)).values()) == {"unknown"}
    finally:
        await reader.close()


def test_sqlite_file_is_the_owners_alone(tmp_path):
    path = tmp_path / "deep" / "store.db"
    migrate(f"sqlite:///{path}")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("address", ["mysql://x/y", "nonsense", "sqlite://", "postgresql://127.0.0.1:1/none"])
def test_address_that_cannot_be_used_is_told_without_repeating_it(address):
    with pytest.raises(ConfigurationError) as caught:
        migrate(address)
    assert address not in str(caught.value)
