"""What a process of the broker's own user can write, without its passphrase: database, rollback guard, settings."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from opaque_jobs.broker.anchor import Anchor, Mark
from opaque_jobs.broker.authentic import Authenticator, Purpose
from opaque_jobs.broker.config import config_path, pin_member, unpin_member
from opaque_jobs.broker.release import Broker, Sealed
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.errors import TrustError
from tests.support.broker_stage import Stage
from tests.world import Member, World

LOST = ("broker-memory-lost",)


@pytest.fixture
def stage(tmp_path) -> Stage:
    stage = Stage(tmp_path / "broker")
    stage.deposit()
    stage.share()
    return stage


def write(stage: Stage, *statements: str) -> None:
    with closing(sqlite3.connect(stage.folder / "broker.db", isolation_level=None)) as connection:
        for each in statements:
            connection.execute(each)


def whole(database) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


TAMPERED = {
    "veto-taken-away": ("DELETE FROM vetoes",),
    "veto-lifted": ("INSERT INTO liftings SELECT scope, subject, '', digest FROM vetoes",),
    "clock-set-back": ("UPDATE memory SET latest = '2020-01-01T00:00:00.000000+00:00'",),
    "settings-set-back": ("UPDATE memory SET settings = 0",),
    "deposit-changed": ("UPDATE deposits SET issued_at = '2020-01-01T00:00:00.000000+00:00'",),
    "log-root-changed": ("UPDATE log_roots SET root = x'00'",),
    "acceptance-added": ("INSERT INTO acceptances VALUES ('sha256:00', 'sha256:11', x'00')",),
    "table-added": ("CREATE TABLE more (a)",),
    "trigger-added": ("CREATE TRIGGER t AFTER INSERT ON vetoes BEGIN DELETE FROM vetoes; END",),
}


@pytest.mark.parametrize("statements", TAMPERED.values(), ids=list(TAMPERED))
def test_database_changed_before_a_start_releases_nothing(stage, statements):
    hold(stage)
    enclave = stage.enclave()
    write(stage, *statements)
    stage.restart()
    assert stage.run(enclave).reasons == LOST


@pytest.mark.parametrize("statements", [TAMPERED["veto-taken-away"], TAMPERED["log-root-changed"]])
def test_database_changed_under_a_running_broker_releases_nothing(stage, statements):
    session, _ = stage.attest(stage.enclave())
    hold(stage)
    write(stage, *statements)
    assert stage.release(session).reasons == LOST


def test_database_changed_and_unmarked_as_lost_releases_nothing(stage):
    enclave = stage.enclave()
    hold(stage)
    write(stage, "DELETE FROM vetoes")
    stage.restart()
    write(stage, "UPDATE memory SET lost = 0")
    stage.restart()
    assert stage.run(enclave).reasons == LOST


def test_database_changed_with_a_mark_by_another_key_releases_nothing(stage):
    enclave = stage.enclave()
    whole(stage.folder / "broker.db")
    shutil.copyfile(stage.folder / "broker.db", stage.folder / "older")
    hold(stage)
    whole(stage.folder / "broker.db")
    shutil.copyfile(stage.folder / "older", stage.folder / "broker.db")
    with closing(sqlite3.connect(stage.folder / "broker.db")) as connection:
        identity, steps, seal = connection.execute("SELECT id, steps, seal FROM memory").fetchone()
    forged = Authenticator.of(World().laboratory.broker, Purpose.GUARD)
    Anchor(stage.folder / "memory.anchor", forged).keep(Mark(identity=identity, steps=steps, seal=seal))
    stage.restart()
    assert stage.run(enclave).reasons == LOST


def test_new_database_in_place_of_one_that_had_recorded_something_is_lost(stage):
    for name in ("broker.db", "broker.db-wal", "broker.db-shm"):
        (stage.folder / name).unlink(missing_ok=True)
    stage.restart()
    with stage.broker.store.transaction() as memory:
        assert memory.lost


def test_older_settings_are_refused_though_authentic(stage):
    keys, ben = stage.broker.keys, Member("mem-new", stage.world.hospital.id).entry
    pin_member(stage.folder, ben, keys)
    older = config_path(stage.folder).read_bytes()
    enclave = stage.enclave()
    unpin_member(stage.folder, ben.id, keys)
    config_path(stage.folder).write_bytes(older)
    with pytest.raises(TrustError, match="older"):
        stage.run(enclave)
    with pytest.raises(TrustError, match="older"):
        pin_member(stage.folder, ben, keys)
    with pytest.raises(TrustError, match="older"):
        _ = Broker(stage.folder, keys, clock=stage.world.clock).config


def test_owner_goes_on_with_a_changed_database_on_their_word(stage):
    enclave = stage.enclave()
    write(stage, "DELETE FROM withdrawals")
    write(stage, "INSERT INTO withdrawals VALUES ('ws-9', 'sha256:00', x'00')")
    stage.restart()
    assert stage.run(enclave).reasons == LOST
    stage.broker.store.recover()
    stage.restart()
    assert isinstance(stage.run(stage.enclave("run-2")), Sealed)


def hold(stage: Stage) -> None:
    stage.tell(holds=[stage.world.hold(stage.world.hospital, scope=HoldScope.DATASET, subject=stage.world.hospital.dataset_id)])
