"""A session from the first message to the last, and every way in which it can end."""

import time

import pytest

from opaque_jobs.enclave.sandbox import Ending
from opaque_jobs.errors import InvalidInputError, SandboxError, TrustError
from opaque_jobs.protocol.enclave import FailureWord, StatusWord


def test_session_of_a_good_agent_carries_everything_and_keeps_its_files(session):
    outcome = session.run("good", parts={"visits": [session.part(b"ciphertext")]})
    assert outcome.failure is None
    assert outcome.files == ("log.sealed.json", "preview.sealed.json", "receipt.json", "result.key.json", "result.sealed")
    assert (session.out / "receipt.json").read_text() == "ciphertext"
    assert (session.out / "result.sealed").read_text() == "answer /data/visits/part-00000.parquet"
    assert session.words == [StatusWord.MEASURING, StatusWord.DONE]
    assert [(one.org_id, one.path, one.request_id) for one in session.relayed] == [("north", "/kbs/v0/auth", 7)]


def test_session_evidence_is_asked_for_the_measurement_of_the_mounted_tree(session):
    session.run("good", parts={"visits": [session.part(b"x")]})
    assert session.hardware.asked == [(session.runtime.measurement, bytes.fromhex("ab" * 48), bytes.fromhex("cd" * 48))]


def test_session_refused_by_a_broker_gives_its_codes(session):
    outcome = session.run("refused")
    assert (outcome.failure, outcome.reasons) == (FailureWord.BROKER_REFUSED, ("epoch-old", "not-unanimous"))


@pytest.mark.parametrize("scenario", ["dies", "babbles", "unknown-word"])
def test_session_of_an_agent_that_breaks_off_is_internal_and_leaves_nothing(session, scenario):
    outcome = session.run(scenario)
    assert (outcome.failure, outcome.files) == (FailureWord.INTERNAL, ())
    assert list(session.out.iterdir()) == []


def test_session_status_outside_the_fixed_list_is_not_passed_on(session):
    assert session.run("unknown-status").failure is None
    assert session.words == [StatusWord.MEASURING]


def test_session_over_its_memory_is_a_resource_limit(session):
    assert session.run("memory", limits={"memory_bytes": 128 << 20}).failure is FailureWord.RESOURCE_LIMIT


def test_session_over_its_time_is_a_time_limit(session):
    assert session.run("sleeps", limits={"timeout_s": 1.0}).failure is FailureWord.TIME_LIMIT


def test_session_of_a_closed_run_is_cancelled_and_gone(session):
    session.keep_open = lambda: not session.words
    outcome = session.run("sleeps")
    assert outcome.failure is FailureWord.CANCELLED
    assert outcome.elapsed_s < 10


def test_session_agent_may_end_itself_when_cancelled(session):
    session.keep_open = lambda: not session.words
    assert session.run("obeys").failure is FailureWord.CANCELLED


def test_session_lease_is_renewed_while_the_run_is_open(session):
    assert session.run("beats").failure is None


def test_session_without_an_answer_about_the_run_is_not_renewed(session):
    def unanswered() -> bool:
        raise RuntimeError("database is gone")

    session.keep_open = unanswered
    assert session.run("beats", limits={"timeout_s": 4.0}).failure is FailureWord.TIME_LIMIT


def test_session_agent_that_lingers_after_its_last_word_is_ended(session):
    began = time.monotonic()
    outcome = session.run("lingers", limits={"timeout_s": 3.0})
    assert time.monotonic() - began < 20
    assert outcome.failure is FailureWord.TIME_LIMIT


@pytest.mark.parametrize("scenario", ["plays-host", "bad-hex"])
def test_session_agent_that_breaks_its_role_is_not_trusted(session, scenario):
    with pytest.raises(TrustError):
        session.run(scenario)
    assert session.sandbox.running.wait(0) is Ending.KILLED


@pytest.mark.parametrize("scenario", ["link", "hard-link", "named-by-data", "part-missing", "result-of-a-failure"])
def test_session_output_that_is_not_of_the_layout_is_removed(session, scenario):
    with pytest.raises(TrustError):
        session.run(scenario)
    assert list(session.out.iterdir()) == []


def test_session_output_cannot_be_a_pipe(session):
    assert session.run("pipe").failure is FailureWord.INTERNAL


def test_session_relay_that_fails_ends_the_sandbox(session):
    class BrokenError(Exception):
        """The relay's own error."""

    def relay(_request):
        raise BrokenError

    session.relay = relay
    with pytest.raises(BrokenError):
        session.run("good", parts={"visits": [session.part(b"x")]})
    assert session.sandbox.running.wait(0) is Ending.KILLED


def test_session_whose_agent_never_speaks_is_a_sandbox_error(session, tmp_path):
    session.sandbox.folder = tmp_path
    with pytest.raises(SandboxError) as caught:
        session.run("good")
    assert caught.value.retryable


@pytest.mark.parametrize("alias", ["../x", "a/b", "", "1a", "a b", "a\n"])
def test_session_alias_that_could_lead_elsewhere_is_refused(session, alias):
    part = session.part(b"x")
    with pytest.raises(InvalidInputError):
        session.request("good", parts={alias: [part]})


def test_session_part_that_is_a_link_is_refused(session, tmp_path):
    link = tmp_path / "part-00001.parquet"
    link.symlink_to(session.part(b"x"))
    with pytest.raises(InvalidInputError):
        session.request("good", parts={"visits": [link]})


def test_session_part_given_twice_is_refused(session):
    part = session.part(b"x")
    with pytest.raises(InvalidInputError):
        session.request("good", parts={"visits": [part, part]})


def test_session_output_folder_that_is_not_empty_is_refused(session):
    (session.out / "old").write_text("old")
    with pytest.raises(InvalidInputError):
        session.request("good")
