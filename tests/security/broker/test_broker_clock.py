"""A broker's clock that is set back reopens nothing: neither a lease nor a review's deadline."""

from datetime import timedelta

import pytest

from opaque_jobs.broker.release import Sealed, Token
from opaque_jobs.broker.store import Store
from tests.world import NOW

SET_BACK = ("clock-set-back",)


def test_clock_set_back_gets_no_keys_and_no_attestation(stage):
    assert isinstance(stage.run(stage.enclave()), Sealed)
    stage.world.clock.forward(-300)
    _, answer = stage.attest(stage.enclave("run-2"))
    assert answer.reasons == SET_BACK


def test_clock_set_back_between_evidence_and_keys_gets_no_keys(stage):
    session, answer = stage.attest(stage.enclave())
    assert isinstance(answer, Token)
    stage.world.clock.forward(-300)
    assert stage.release(session).reasons == SET_BACK


def test_clock_set_back_before_a_restart_is_noticed_after_it(stage):
    stage.attest(stage.enclave())
    stage.world.clock.forward(-300)
    stage.restart()
    assert stage.run(stage.enclave()).reasons == SET_BACK


def test_clock_set_back_a_little_opens_no_ended_lease(stage):
    stage.world.clock.forward(timedelta(days=30, seconds=50).total_seconds())
    assert stage.run(stage.enclave()).reasons == ("lease-ended",)
    stage.world.clock.forward(-100)
    assert stage.run(stage.enclave("run-2")).reasons == ("lease-ended",)


@pytest.mark.parametrize("back_s", [100, 3600])
def test_approval_seen_by_a_clock_that_was_set_back_is_not_in_time(stage, back_s):
    stage.spec = stage.world.make_spec(review_until=NOW.isoformat())
    stage.bundle = stage.world.make_bundle(stage.spec, log=None)
    stage.world.clock.forward(60)
    stage.attest(stage.enclave("run-0", threshold=1))
    stage.world.clock.forward(-back_s)
    stage.bundle = stage.world.make_bundle(stage.spec)
    enclave = stage.enclave()
    stage.world.clock.forward(back_s)
    assert "approval-too-late" in stage.run(enclave).reasons


def test_clock_that_was_too_far_ahead_is_forgotten_on_the_owners_word(stage):
    stage.world.clock.forward(20 * 86400)
    stage.attest(stage.enclave())
    stage.world.clock.forward(-20 * 86400)
    assert stage.run(stage.enclave()).reasons == SET_BACK
    Store(stage.folder / "broker.db", stage.broker.keys).reset_clock()
    assert isinstance(stage.run(stage.enclave()), Sealed)
