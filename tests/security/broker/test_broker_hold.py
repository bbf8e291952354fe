"""The owner's veto and the memory of a broker: what stops the next release, and what nobody can talk a broker out of."""

import shutil
from datetime import timedelta

import pytest

from opaque_jobs.broker.policy import Refused
from opaque_jobs.broker.release import Broker, Sealed, Token, Unlogged
from opaque_jobs.broker.store import Store
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.errors import ConflictError, InvalidInputError, TrustError
from tests.support.broker_stage import Stage

HELD = ("held-by-owner",)


def make_hold(stage: Stage, **over) -> bytes:
    return stage.world.hold(stage.world.hospital, **over)


def tell_hold(stage: Stage, **over) -> None:
    stage.tell(holds=[make_hold(stage, **over)])


SUBJECTS = {
    "everything": (HoldScope.ALL, lambda _: "org-hospital"),
    "a data set": (HoldScope.DATASET, lambda _: "ds-org-hospital"),
    "a job": (HoldScope.JOB, lambda stage: stage.spec.job_id),
    "a revision": (HoldScope.JOB, lambda stage: stage.spec.digest),
}


@pytest.mark.parametrize("what", list(SUBJECTS))
def test_hold_stops_the_next_release_and_a_lift_lets_it_go(stage, what):
    scope, subject = SUBJECTS[what][0], SUBJECTS[what][1](stage)
    tell_hold(stage, scope=scope, subject=subject)
    assert stage.run(stage.enclave()).reasons == HELD
    stage.world.clock.forward(1)
    tell_hold(stage, scope=scope, subject=subject, held=False)
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_member_list_in_force_cannot_be_taken_back(stage):
    with pytest.raises(ConflictError, match="is in force"):
        tell_hold(stage, scope=HoldScope.ROSTER, subject=stage.spec.roster_digest)
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_hold_is_kept_though_what_comes_with_it_is_not_believed(stage):
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(holds=[make_hold(stage)], roster=stage.world.next_roster(stage.world.make_roster()), acceptances=[])
    assert stage.run(stage.enclave()).reasons == HELD


@pytest.mark.parametrize(("scope", "subject"), [(HoldScope.DATASET, "ds-other"), (HoldScope.JOB, "sha256:" + "0" * 64)])
def test_hold_of_something_else_stops_nothing(stage, scope, subject):
    tell_hold(stage, scope=scope, subject=subject)
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_hold_between_evidence_and_keys_stops_the_keys(stage):
    session, answer = stage.attest(stage.enclave())
    assert isinstance(answer, Token)
    tell_hold(stage)
    assert stage.release(session).reasons == HELD


def test_hold_between_statement_and_keys_stops_the_keys(stage):
    session, _ = stage.attest(stage.enclave())
    wanted = {"workspace_id": "ws-1", "dataset_id": "ds-org-hospital", "version": 1}
    unlogged = stage.broker.release(session, **wanted)
    assert isinstance(unlogged, Unlogged)
    stage.world.log.append(EntryKind.RELEASE, "run-1", unlogged.statement)
    stage.world.follow(stage.broker)
    tell_hold(stage)
    assert stage.broker.release(session, **wanted).reasons == HELD


def test_hold_survives_a_restart(stage):
    tell_hold(stage)
    stage.restart()
    assert stage.run(stage.enclave()).reasons == HELD


def test_older_lift_does_not_undo_a_hold(stage):
    tell_hold(stage)
    lift = make_hold(stage, held=False)
    stage.tell(holds=[lift])
    stage.world.clock.forward(1)
    tell_hold(stage)
    with pytest.raises(TrustError, match="older"):
        stage.tell(holds=[lift])
    assert stage.run(stage.enclave()).reasons == HELD


@pytest.mark.parametrize("days", [-400, 1, 400])
def test_hold_counts_when_it_comes_whatever_its_date_says(stage, days):
    tell_hold(stage, issued_at=(stage.world.clock() + timedelta(days=days)).isoformat())
    assert stage.run(stage.enclave()).reasons == HELD


def test_lift_dated_ahead_does_not_make_the_next_hold_fail(stage):
    tell_hold(stage)
    tell_hold(stage, held=False, issued_at=(stage.world.clock() + timedelta(minutes=4)).isoformat())
    tell_hold(stage)
    assert stage.run(stage.enclave()).reasons == HELD


def test_hold_that_was_lifted_is_not_brought_back_by_repeating_it(stage):
    hold = make_hold(stage)
    stage.tell(holds=[hold])
    tell_hold(stage, held=False)
    with pytest.raises(TrustError, match="older"):
        stage.tell(holds=[hold])
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_lift_ends_only_the_holds_that_its_signer_has_seen(stage):
    tell_hold(stage)
    lift = make_hold(stage, held=False)
    tell_hold(stage, signer=stage.world.ben.key)
    with pytest.raises(TrustError, match="does not name"):
        stage.tell(holds=[lift])
    assert stage.run(stage.enclave()).reasons == HELD
    tell_hold(stage, held=False)
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_hold_is_kept_whatever_else_comes_in_the_same_request(stage):
    with pytest.raises(TrustError, match="nobody"):
        stage.tell(holds=[make_hold(stage, signer=SigningKey.generate()), make_hold(stage)])
    assert stage.run(stage.enclave()).reasons == HELD


@pytest.mark.parametrize("whose", ["partner", "stranger"])
def test_nobody_else_holds_or_lifts(stage, whose):
    tell_hold(stage)
    stage.world.clock.forward(1)
    signer = stage.world.carl.key if whose == "partner" else SigningKey.generate()
    with pytest.raises(TrustError):
        tell_hold(stage, signer=signer, held=False)
    assert stage.run(stage.enclave()).reasons == HELD


def test_hold_for_another_organisation_is_refused(stage):
    with pytest.raises(TrustError):
        tell_hold(stage, organisation_id="org-laboratory", subject="org-laboratory")


NOT_SOUND = (
    {"v": 2}, {"issued_at": "x"}, {"subject": "ds-1"}, {"scope": HoldScope.JOB}, {"held": False}, {"lifts": ("x",)},
)  # fmt: skip


@pytest.mark.parametrize("over", NOT_SOUND)
def test_hold_that_says_nothing_sound_is_not_made(stage, over):
    with pytest.raises(InvalidInputError):
        make_hold(stage, **over)


def test_key_never_leaves_before_its_release_is_in_the_log(stage):
    session, _ = stage.attest(stage.enclave())
    wanted = {"workspace_id": "ws-1", "dataset_id": "ds-org-hospital", "version": 1}
    first = stage.broker.release(session, **wanted)
    again = stage.broker.release(session, **wanted)
    assert isinstance(first, Unlogged)
    assert again == first


def test_release_that_somebody_else_signed_does_not_open_the_way(stage):
    session, _ = stage.attest(stage.enclave())
    wanted = {"workspace_id": "ws-1", "dataset_id": "ds-org-hospital", "version": 1}
    assert isinstance(stage.broker.release(session, **wanted), Unlogged)
    stage.world.log.append(EntryKind.RELEASE, "run-1", b"{}")
    stage.world.follow(stage.broker)
    assert isinstance(stage.broker.release(session, **wanted), Unlogged)


def test_restored_database_is_noticed_and_releases_nothing(stage):
    database = stage.folder / "broker.db"
    assert isinstance(stage.run(stage.enclave()), Sealed)
    _checkpoint(database)
    shutil.copyfile(database, stage.folder / "older")
    stage.world.clock.forward(60)
    assert isinstance(stage.run(stage.enclave("run-2")), Sealed)
    _checkpoint(database)
    shutil.copyfile(stage.folder / "older", database)
    stage.restart()
    stage.world.clock.forward(60)
    assert stage.run(stage.enclave("run-3")).reasons == ("broker-memory-lost",)
    # Nothing that is told afterwards makes it forget that.
    stage.tell()
    stage.restart()
    assert stage.run(stage.enclave("run-3")).reasons == ("broker-memory-lost",)


def test_oldest_copy_does_not_make_way_for_a_newer_one(stage):
    database = stage.folder / "broker.db"
    _checkpoint(database)
    shutil.copyfile(database, stage.folder / "oldest")
    stage.tell()
    tell_hold(stage, scope=HoldScope.JOB, subject=stage.spec.digest)
    _checkpoint(database)
    shutil.copyfile(database, stage.folder / "newer")
    stage.world.clock.forward(1)
    tell_hold(stage)
    for copy in ("oldest", "newer"):
        shutil.copyfile(stage.folder / copy, database)
        stage.restart()
        stage.share(issued_at=(stage.world.clock() + timedelta(seconds=1)).isoformat())
        _checkpoint(database)
    assert stage.run(stage.enclave()).reasons == ("broker-memory-lost",)


def test_restored_folder_is_noticed_by_the_release_in_the_log(stage, tmp_path):
    _checkpoint(stage.folder / "broker.db")
    shutil.copytree(stage.folder, tmp_path / "older")
    assert isinstance(stage.run(stage.enclave()), Sealed)
    shutil.rmtree(stage.folder)
    shutil.copytree(tmp_path / "older", stage.folder)
    stage.restart()
    assert stage.run(stage.enclave("run-2")).reasons == ("broker-memory-lost",)


def test_recovered_broker_knows_its_releases_from_the_log(stage, tmp_path):
    _checkpoint(stage.folder / "broker.db")
    shutil.copytree(stage.folder, tmp_path / "older")
    for run in ("run-1", "run-2"):
        assert isinstance(stage.run(stage.enclave(run)), Sealed)
        stage.world.clock.forward(60)
    shutil.rmtree(stage.folder)
    shutil.copytree(tmp_path / "older", stage.folder)
    stage.restart()
    assert isinstance(stage.run(stage.enclave("run-3")), Refused)
    Store(stage.folder / "broker.db", stage.broker.keys).recover()
    assert stage.run(stage.enclave("run-3")).reasons == ("lease-used-up",)


def test_emptied_folder_of_a_broker_has_no_memory_to_go_on_from(stage):
    assert isinstance(stage.run(stage.enclave()), Sealed)
    for name in ("broker.db", "broker.db-wal", "broker.db-shm"):
        (stage.folder / name).unlink(missing_ok=True)
    stage.broker = Broker(stage.folder, stage.world.hospital.broker, clock=stage.world.clock)
    stage.deposit()
    stage.share()
    assert stage.run(stage.enclave("run-2")).reasons == ("broker-memory-lost",)


def _checkpoint(database) -> None:
    """Move everything into the database file itself, so that a copy of it is whole."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
