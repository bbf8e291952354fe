"""`broker forget`: keys that were destroyed are in no byte of the database, never come again, and everybody can read that."""

import sqlite3
from contextlib import closing

import pytest

from opaque_jobs.broker.erasure import erase_keys
from opaque_jobs.crypto.release import verify_erasure
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import ConflictError
from tests.support.broker_stage import Stage
from tests.world import NOW


def sealed_text(stage: Stage) -> bytes:
    with stage.broker.store.transaction() as memory:
        return memory.deposit(stage.world.hospital.dataset_id, 1).sealed.encode()[-400:-20]


def files(stage: Stage) -> bytes:
    return b"".join(path.read_bytes() for path in stage.folder.rglob("*") if path.is_file())


def forget(stage: Stage) -> bytes:
    home = stage.world.hospital
    return erase_keys(stage.folder, home.broker, home.dataset_id, now=NOW)


@pytest.fixture
def text(stage) -> bytes:
    """Part of the sealed deposit, as it stands in the database's files."""
    text = sealed_text(stage).replace(b'"', b'\\"')
    assert text in files(stage)
    return text


def test_destroyed_keys_are_in_no_byte_of_the_brokers_files(stage, text):
    with closing(sqlite3.connect(stage.folder / "broker.db")) as running:  # so that closing the last one does not tidy up
        running.execute("SELECT count(*) FROM deposits").fetchone()
        forget(stage)
        assert text not in files(stage)


def test_destroyed_keys_are_gone_for_a_running_broker_and_its_proven_sessions(stage):
    session, _ = stage.attest(stage.enclave())
    statement = forget(stage)
    assert "dataset-unknown" in stage.release(session).reasons
    home = stage.world.hospital
    said = verify_erasure(statement, home.broker.signing.public, organisation_id=home.id)
    assert (said.dataset_id, said.versions) == (home.dataset_id, (1,))


def test_deposit_of_a_data_set_whose_keys_were_destroyed_is_never_taken_again(stage):
    forget(stage)
    stage.world.clock.forward(60)
    home = stage.world.hospital
    with pytest.raises(ConflictError, match="destroyed"):
        stage.deposit(stage.world.deposit(home))


def test_destroying_said_again_gives_the_same_statement(stage):
    assert forget(stage) == forget(stage)


def test_broker_that_goes_on_with_an_older_copy_learns_from_the_log_to_destroy_the_keys(stage):
    home = stage.world.hospital
    stage.world.log.append(EntryKind.ERASURE, home.dataset_id, forget(stage))
    fresh = stage.world.make_broker(home, stage.folder.parent / "older")
    stage.broker, stage.folder = fresh, stage.folder.parent / "older"
    stage.deposit()
    stage.world.follow(stage.broker)
    with stage.broker.store.transaction() as memory:
        assert memory.deposited(home.dataset_id) == ()
        assert memory.erasure(home.dataset_id) is not None
