"""Carrying out runs with a simulated agent: what is published, what is refused, and in which state a run ends."""

import base64
import json
from dataclasses import replace

import pytest
from simulated_agent import SimulatedAgent

from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, NotFoundError, SandboxError
from opaque_jobs.protocol.enclave import FailureWord
from opaque_jobs.runner.execution import execute, execute_test
from opaque_jobs.store.words import CloseReason


@pytest.fixture
def ready(study):
    create_service_key(study.services.context.settings.simulated_key_path)
    return study


def _go(cast, run_id, agent, **over):
    return execute(cast.services, run_id, cores=8, memory_bytes=4 << 30, session=agent, **over)


def test_reason_of_a_run_is_the_enclaves_word_whichever_it_is():
    """The database keeps every word that an enclave may send, under the same name."""
    assert {word.name: word.value for word in FailureWord}.items() <= {each.name: each.value for each in CloseReason}.items()


def _folder(cast, run_id):
    return cast.services.context.settings.result_dir(run_id)


def _leftovers(cast):
    folder = cast.services.context.settings.results_dir
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_run_with_a_receipt_that_holds_succeeds_and_publishes(ready):
    run = ready.open_run(ready.accepted_job().id)
    words = []
    outcome = _go(ready, run.id, SimulatedAgent(ready), on_status=words.append)
    assert (outcome.state, outcome.reason, outcome.retryable) == (RunState.SUCCEEDED, None, False)
    view = ready.services.runs.show(run.id, actor=ready.id("lea"))
    assert (view.trust_label, view.state) == ("simulated", RunState.SUCCEEDED)
    assert words == ["computing"]
    folder = ready.services.runs.result_folder(run.id, actor=ready.id("ben"))
    assert (folder / "result.sealed").read_bytes() == b"sealed rows"
    assert (folder / "receipt.json").read_bytes() == ready.services.runs.receipt(run.id, actor=ready.id("lea")).receipt
    assert _leftovers(ready) == [run.id]


def test_result_of_a_real_run_is_denied_to_another_organisation(ready):
    run = ready.open_run(ready.accepted_job().id)
    _go(ready, run.id, SimulatedAgent(ready))
    with pytest.raises(DeniedError):
        ready.services.runs.result_folder(run.id, actor=ready.id("lea"))


def test_run_is_unknown_to_somebody_outside_the_workspace(ready):
    run = ready.open_run(ready.accepted_job().id)
    _go(ready, run.id, SimulatedAgent(ready))
    runs = ready.services.runs
    for call in (runs.show, runs.result_folder, runs.receipt):
        with pytest.raises(NotFoundError):
            call(run.id, actor=ready.id("mallory"))


def test_run_that_leaves_no_log_publishes_no_folder(ready):
    run = ready.open_run(ready.accepted_job().id)

    def clear(request):
        for path in request.out_dir.iterdir():
            path.unlink()

    _go(ready, run.id, SimulatedAgent(ready, failure=FailureWord.BROKER_REFUSED, before_end=clear))
    assert _leftovers(ready) == []


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ({"receipt": False}, "receipt-missing"),
        ({"before_end": lambda request: (request.out_dir / "extra").write_bytes(b"x")}, "receipt-refused"),
        ({"failure": FailureWord.BROKER_REFUSED, "reasons": ("lease-used-up",)}, "broker-refused"),
    ],
)
def test_run_without_a_receipt_that_holds_fails_and_publishes_no_result(ready, agent, reason):
    run = ready.open_run(ready.accepted_job().id)
    outcome = _go(ready, run.id, SimulatedAgent(ready, **agent))
    assert (outcome.state, outcome.reason, outcome.retryable) == (RunState.FAILED, reason, False)
    assert outcome.reasons == agent.get("reasons", ())
    with pytest.raises(ConflictError):
        ready.services.runs.receipt(run.id, actor=ready.id("anna"))


def test_receipt_of_an_earlier_run_of_the_same_job_does_not_serve(ready):
    job = ready.accepted_job()
    earlier, run = ready.open_run(job.id), ready.open_run(job.id)

    def replay(request, **rest):
        return SimulatedAgent(ready)(replace(request, start=replace(request.start, run_id=earlier.id)), **rest)

    assert _go(ready, run.id, replay).reason == "receipt-refused"


def test_failed_author_code_leaves_its_sealed_log_and_nothing_else(ready):
    run = ready.open_run(ready.accepted_job().id)
    _go(ready, run.id, SimulatedAgent(ready, failure=FailureWord.AUTHOR_ERROR))
    assert [path.name for path in _folder(ready, run.id).iterdir()] == ["log.sealed.json"]


def test_run_closed_meanwhile_publishes_nothing(ready):
    run = ready.open_run(ready.accepted_job().id)
    agent = SimulatedAgent(ready, before_end=lambda _request: ready.services.runs.cancel(run.id, actor=ready.id("anna")))
    outcome = _go(ready, run.id, agent)
    assert outcome.state is RunState.CANCELLED
    assert _leftovers(ready) == []


def test_cancelled_run_is_no_longer_kept_open(ready):
    run = ready.open_run(ready.accepted_job().id)
    answers = []

    def session(request, *, keep_open, **rest):
        answers.append(keep_open())
        ready.services.runs.cancel(run.id, actor=ready.id("anna"))
        answers.append(keep_open())
        return SimulatedAgent(ready, failure=FailureWord.CANCELLED)(request, keep_open=keep_open, **rest)

    assert _go(ready, run.id, session).state is RunState.CANCELLED
    assert answers == [True, False]


def test_request_for_keys_after_a_cancellation_does_not_leave(ready):
    run = ready.open_run(ready.accepted_job().id)
    statuses = []

    def session(request, *, relay, **rest):
        ready.services.runs.cancel(run.id, actor=ready.id("anna"))
        SimulatedAgent(ready).ask_for_keys(request, lambda asked: statuses.append(relay(asked).status))
        return SimulatedAgent(ready, failure=FailureWord.CANCELLED)(request, relay=relay, **rest)

    _go(ready, run.id, session)
    assert set(statuses) == {0}


def test_missing_sandbox_is_the_only_failure_that_may_be_retried(ready):
    run = ready.open_run(ready.accepted_job().id)
    outcome = _go(ready, run.id, SimulatedAgent(ready, raises=SandboxError("gone")))
    assert (outcome.reason, outcome.retryable) == ("sandbox-unavailable", True)


def test_missing_machine_part_is_told_and_closes_the_run(ready):
    run = ready.open_run(ready.accepted_job().id)
    with pytest.raises(ConfigurationError):
        _go(ready, run.id, SimulatedAgent(ready, raises=ConfigurationError("no user namespaces")))
    assert ready.services.runs.show(run.id, actor=ready.id("anna")).state is RunState.FAILED


def test_result_that_cannot_be_stored_closes_the_run_as_storage_failed(ready):
    run = ready.open_run(ready.accepted_job().id)
    in_the_way = ready.services.context.settings.result_dir(run.id) / "in-the-way"
    agent = SimulatedAgent(ready, before_end=lambda _request: in_the_way.mkdir(parents=True))
    outcome = _go(ready, run.id, agent)
    assert (outcome.reason, outcome.retryable) == ("storage-failed", False)


def test_error_of_the_machine_that_is_not_the_storages_is_not_called_so(ready):
    run = ready.open_run(ready.accepted_job().id)
    with pytest.raises(OSError, match="Too many open files"):
        _go(ready, run.id, SimulatedAgent(ready, raises=OSError(24, "Too many open files")))
    assert ready.services.runs.show(run.id, actor=ready.id("anna")).reason == "internal"


def test_run_whose_supervisor_is_gone_closes_as_worker_lost_and_may_be_retried(ready):
    run = ready.open_run(ready.accepted_job().id)

    def tell(_word):
        raise BrokenPipeError

    outcome = _go(ready, run.id, SimulatedAgent(ready), on_status=tell)
    assert (outcome.reason, outcome.retryable) == ("worker-lost", True)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_run_whose_process_is_told_to_end_closes_as_stopped(ready, signal):
    run = ready.open_run(ready.accepted_job().id)
    with pytest.raises(signal):
        _go(ready, run.id, SimulatedAgent(ready, raises=signal()))
    assert ready.services.runs.show(run.id, actor=ready.id("anna")).reason == "stopped"


@pytest.mark.parametrize("failure", [FailureWord.CANCELLED, FailureWord.INTERNAL])
def test_run_that_its_caller_ends_closes_as_stopped_and_may_be_retried(ready, failure):
    run = ready.open_run(ready.accepted_job().id)
    outcome = _go(ready, run.id, SimulatedAgent(ready, failure=failure), keep_open=lambda: False)
    assert (outcome.reason, outcome.retryable) == ("stopped", True)


def test_run_whose_author_failed_while_its_caller_ends_keeps_the_authors_reason(ready):
    run = ready.open_run(ready.accepted_job().id)
    outcome = _go(ready, run.id, SimulatedAgent(ready, failure=FailureWord.AUTHOR_ERROR), keep_open=lambda: False)
    assert (outcome.reason, outcome.retryable) == ("author-error", False)


def test_unknown_exception_closes_the_run_and_goes_on(ready):
    run = ready.open_run(ready.accepted_job().id)
    with pytest.raises(ZeroDivisionError):
        _go(ready, run.id, SimulatedAgent(ready, raises=ZeroDivisionError()))
    assert ready.services.runs.show(run.id, actor=ready.id("anna")).reason == "internal"


def test_missing_data_file_closes_the_run_as_data_refused(ready):
    run = ready.open_run(ready.accepted_job().id)
    (ready.services.context.settings.dataset_dir("ds-patients", 1) / "part-00000.parquet").unlink()
    assert _go(ready, run.id, SimulatedAgent(ready)).reason == "data-refused"


def test_single_run_is_used_up_by_its_run(ready):
    job = ready.accepted_job()
    _go(ready, ready.open_run(job.id).id, SimulatedAgent(ready))
    with pytest.raises(ConflictError) as caught:
        ready.open_run(job.id)
    assert caught.value.facts["reasons"] == "lease-used-up"


def test_run_refused_by_a_broker_does_not_use_up_the_lease(ready):
    job = ready.accepted_job()
    _go(ready, ready.open_run(job.id).id, SimulatedAgent(ready, failure=FailureWord.BROKER_UNREACHABLE))
    assert ready.open_run(job.id).state is RunState.QUEUED


def test_start_carries_the_approved_bytes_and_only_settable_inputs(ready):
    from consortium import make_input

    terms = RerunTerms(
        max_runs=2,
        not_before=None,
        not_after="2027-01-01T00:00:00+00:00",
        min_interval_s=0,
        schedule=None,
        variable_inputs=("floor",),
    )
    job = ready.accepted_job(inputs=(make_input(), make_input(name="fixed", default=1)), rerun_terms=terms)
    run = ready.open_run(job.id, inputs={"floor": 7})
    agent = SimulatedAgent(ready)
    assert _go(ready, run.id, agent).state is RunState.SUCCEEDED
    (request,) = agent.requests
    assert base64.b64decode(request.start.job_spec) == job.revisions[0].spec_bytes
    assert request.start.inputs == {"floor": 7}
    assert request.start.cores == 2
    assert request.limits.memory_bytes == 3 << 30
    assert set(request.start.manifests) == {"patients", "findings"}
    assert [path.name for path in request.parts["patients"]] == ["part-00000.parquet"]


def test_test_run_gets_test_data_and_neither_bundle_nor_receipt(ready):
    job = ready.make_job()
    run = ready.services.runs.start_test(actor=ready.id("anna"), job_id=job.id, inputs={})
    agent = SimulatedAgent(ready)
    outcome = execute_test(ready.services, run.id, cores=1, memory_bytes=2 << 30, session=agent)
    assert outcome.state is RunState.SUCCEEDED
    (request,) = agent.requests
    assert (request.start.bundle, request.start.manifests) == ("", {})
    assert request.parts["patients"][0].read_bytes() == b"test"
    assert ready.services.runs.result_folder(run.id, actor=ready.id("lea")).is_dir()
    with pytest.raises(ConflictError):
        ready.services.runs.receipt(run.id, actor=ready.id("anna"))


def test_test_run_cannot_be_carried_out_as_a_real_one(ready):
    run = ready.services.runs.start_test(actor=ready.id("anna"), job_id=ready.make_job().id, inputs={})
    with pytest.raises(ConflictError):
        _go(ready, run.id, SimulatedAgent(ready))


def test_carried_out_test_run_is_accepted_at_submission(ready):
    job = ready.make_job()
    run = ready.services.runs.start_test(actor=ready.id("anna"), job_id=job.id, inputs={})
    execute_test(ready.services, run.id, cores=1, memory_bytes=2 << 30, session=SimulatedAgent(ready))
    assert ready.submit(job.id, test_run_id=run.id).test_run_id == run.id


def test_receipt_is_stored_as_the_very_bytes_of_the_file(ready):
    run = ready.open_run(ready.accepted_job().id)
    _go(ready, run.id, SimulatedAgent(ready))
    context = ready.services.runs.receipt(run.id, actor=ready.id("lea"))
    assert json.loads(context.receipt)["payloadType"] == "application/vnd.in-toto+json"
