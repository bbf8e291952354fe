import logging
from types import SimpleNamespace

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from opaque_jobs.airflow.access import use_services
from opaque_jobs.airflow.gate import ApprovalSensor, ApprovalTrigger
from opaque_jobs.airflow.operator import EnclaveSparkOperator
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.run import Trigger
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, SandboxError, TrustError
from opaque_jobs.runner.execution import RunOutcome
from opaque_jobs.store.words import CloseReason, GateWord

CANARY = "canary-7c1f"


class Runs:
    """Runs as the service keeps them: one for each (job, DAG run, attempt)."""

    def __init__(self):
        self.opened = {}
        self.gate = "waiting"
        self.refusal = None
        self.lease = 3

    def open(self, *, job_id, revision, dag_run_id, attempt, actor, trigger, inputs):
        if self.refusal:
            raise self.refusal
        run = SimpleNamespace(id=f"run-{attempt}", state=RunState.QUEUED, reason=None, job_digest="sha256:0")
        run.actor, run.trigger, run.inputs = actor, trigger, inputs
        return self.opened.setdefault((job_id, dag_run_id, attempt), run)

    def close_if_lost(self, run_id):
        run = next(run for run in self.opened.values() if run.id == run_id)
        self.lease -= 1
        if self.lease <= 0:
            self.fail(run_id, reason="worker-lost")
        return run

    def gate_states(self, ids):
        return dict.fromkeys(ids, self.gate)

    def fail(self, run_id, *, reason, reasons=()):
        run = next(run for run in self.opened.values() if run.id == run_id)
        run.state, run.reason = RunState.FAILED, CloseReason(reason)


class Workspaces:
    def member_for_login(self, name):
        if name != "alice":
            raise NotFoundError("nobody", hint="-")
        return SimpleNamespace(id="member-alice")


@pytest.fixture
def runs():
    service = Runs()
    use_services(SimpleNamespace(runs=service, deployments=service, workspaces=Workspaces()))
    return service


def context(*, run_type="manual", name="alice", cleared=0, conf=None, try_number=1, max_tries=1):
    dag_run = SimpleNamespace(run_id="r1", run_type=run_type, clear_number=cleared, triggering_user_name=name, conf=conf)
    return {"dag_run": dag_run, "ti": SimpleNamespace(try_number=try_number, max_tries=max_tries)}


class Operator(EnclaveSparkOperator):
    """The operator with another way to carry out a run."""

    lost_after_s = 0.2
    poll_s = 0.01

    def carry_out(self, run_id, tell):
        return self.way(run_id, tell)


def operator(way):
    made = Operator(task_id="run", job_id="job-a", revision=1, job_digest="sha256:0")
    made.way = way
    return made


def ended(state=RunState.SUCCEEDED, reason=None, reasons=(), *, retryable=False):
    def way(run_id, tell):
        tell("computing")
        return RunOutcome(run_id=run_id, state=state, reason=reason, reasons=reasons, retryable=retryable)

    return way


def failing(error):
    def way(run_id, tell):
        try:
            int(CANARY)
        except ValueError:
            raise error from None

    return way


def test_operator_with_success_and_receipt_succeeds(runs):
    operator(ended()).execute(context())
    assert [run.id for run in runs.opened.values()] == ["run-1"]


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_operator_whose_run_did_not_succeed_fails_without_retry(runs, state):
    with pytest.raises(AirflowFailException, match="broker-refused; consent-withdrawn: a member has withdrawn consent"):
        operator(ended(state, "broker-refused", ("consent-withdrawn",))).execute(context())


def test_operator_without_a_sandbox_may_be_retried(runs):
    with pytest.raises(AirflowException) as caught:
        operator(failing(SandboxError("no sandbox", hint="-"))).execute(context())
    assert not isinstance(caught.value, AirflowFailException)


def test_operator_of_another_digest_than_the_run_refuses(runs):
    other = Operator(task_id="run", job_id="job-a", revision=1, job_digest="sha256:1")
    with pytest.raises(AirflowFailException, match="another digest"):
        other.execute(context())


def test_operator_with_a_trust_error_is_never_retried(runs):
    with pytest.raises(AirflowFailException):
        operator(failing(TrustError("digest differs", hint="-"))).execute(context())


def test_operator_error_carries_no_cause_that_could_hold_a_value(runs):
    with pytest.raises(AirflowException) as caught:
        operator(failing(SandboxError("no sandbox", hint="-"))).execute(context())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert CANARY not in str(caught.value)


def test_operator_with_an_unforeseen_error_hides_its_text_and_is_not_retried(runs):
    with pytest.raises(AirflowFailException, match="KeyError in this program") as caught:
        operator(failing(KeyError(CANARY))).execute(context())
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__


def test_sensor_with_an_unforeseen_error_hides_its_text(runs):
    runs.refusal = KeyError(CANARY)
    with pytest.raises(AirflowFailException, match="KeyError in this program") as caught:
        sensor().execute(context())
    assert CANARY not in str(caught.value)


def test_operator_log_holds_ids_and_status_words_only(runs, caplog):
    with caplog.at_level(logging.INFO):
        operator(ended()).execute(context(conf={"name": CANARY}))
    assert CANARY not in caplog.text


def test_operator_retried_after_its_sandbox_failed_opens_another_run(runs):
    with pytest.raises(AirflowException):
        operator(failing(SandboxError("no sandbox", hint="-"))).execute(context())
    runs.fail("run-1", reason="sandbox-unavailable")
    operator(ended()).execute(context(try_number=2))
    assert [run.id for run in runs.opened.values()] == ["run-1", "run-2"]


def test_operator_retried_though_its_run_never_began_takes_that_run(runs):
    runs.open(job_id="job-a", revision=1, dag_run_id="r1", attempt=1, actor=None, trigger=None, inputs={})
    operator(ended()).execute(context(try_number=2))
    assert [run.id for run in runs.opened.values()] == ["run-1"]


@pytest.mark.parametrize("reason", ["worker-lost", "stopped", "sandbox-ended"])
def test_operator_retried_after_its_worker_died_opens_another_run(runs, reason):
    run = runs.open(job_id="job-a", revision=1, dag_run_id="r1", attempt=1, actor=None, trigger=None, inputs={})
    run.state = RunState.RUNNING
    runs.fail("run-1", reason=reason)
    operator(ended()).execute(context(try_number=2))
    assert [run.id for run in runs.opened.values()] == ["run-1", "run-2"]


def test_operator_retried_while_the_earlier_attempt_has_its_lease_waits_until_that_is_over(runs):
    run = runs.open(job_id="job-a", revision=1, dag_run_id="r1", attempt=1, actor=None, trigger=None, inputs={})
    run.state = RunState.RUNNING
    operator(ended()).execute(context(try_number=2))
    assert (run.state, run.reason, runs.lease) == (RunState.FAILED, "worker-lost", 0)
    assert [run.id for run in runs.opened.values()] == ["run-1", "run-2"]


def test_operator_retried_while_the_earlier_attempt_is_carried_on_does_not_run_again(runs):
    run = runs.open(job_id="job-a", revision=1, dag_run_id="r1", attempt=1, actor=None, trigger=None, inputs={})
    run.state, runs.lease = RunState.RUNNING, 10**6
    with pytest.raises(AirflowFailException, match="run-1 before this one: running; it is not tried again"):
        operator(ended()).execute(context(try_number=2))


@pytest.mark.parametrize("reason", ["author-error", "airflow-ended", "cancelled"])
def test_operator_retried_though_the_sandbox_was_not_to_blame_does_not_run_again(runs, reason):
    run = runs.open(job_id="job-a", revision=1, dag_run_id="r1", attempt=1, actor=None, trigger=None, inputs={})
    run.state = RunState.RUNNING
    if reason:
        runs.fail("run-1", reason=reason)
    with pytest.raises(AirflowFailException, match="not tried again"):
        operator(ended()).execute(context(try_number=2))


def test_operator_of_a_cleared_dag_run_opens_a_run_of_its_own(runs):
    operator(ended()).execute(context())
    operator(ended()).execute(context(cleared=1, try_number=2, max_tries=2))
    assert [(run.id, run.trigger) for run in runs.opened.values()] == [("run-1", Trigger.MANUAL), ("run-101", Trigger.CLEARED)]


def test_operator_on_kill_tells_the_session_to_end(runs):
    made = EnclaveSparkOperator(task_id="run", job_id="job-a", revision=1, job_digest="sha256:0")
    assert made._go_on
    made.on_kill()
    assert not made._go_on


def test_operator_and_sensor_are_plain_airflow_operators():
    assert issubclass(EnclaveSparkOperator, BaseOperator)
    assert issubclass(ApprovalSensor, BaseOperator)


def sensor():
    return ApprovalSensor(task_id="wait", job_id="job-a", revision=1)


def test_sensor_with_votes_out_defers_without_a_time_limit(runs):
    with pytest.raises(TaskDeferred) as caught:
        sensor().execute(context())
    assert caught.value.timeout is None
    assert caught.value.trigger.serialize() == ("opaque_jobs.airflow.gate.ApprovalTrigger", {"run_id": "run-1"})


def test_sensor_with_every_approval_lets_the_run_pass(runs):
    runs.gate = "open"
    sensor().execute(context())


@pytest.mark.parametrize("word", [word for word in GateWord if word not in (GateWord.WAITING, GateWord.OPEN)])
def test_sensor_that_is_refused_fails_at_once_with_the_reason(runs, word):
    runs.gate = word
    with pytest.raises(AirflowFailException, match=word.value):
        sensor().execute(context())


def test_sensor_resumed_by_an_event_that_lies_waits_again(runs):
    with pytest.raises(TaskDeferred):
        sensor().resume(context(), "open")


def test_sensor_closes_the_run_that_is_refused(runs):
    runs.gate = "withdrawn"
    with pytest.raises(AirflowFailException):
        sensor().execute(context())
    assert next(iter(runs.opened.values())).reason == "withdrawn"


@pytest.mark.parametrize(
    "refusal", [InvalidInputError("unknown variable", hint="-"), ConflictError("lease used up", hint="-")], ids=["input", "lease"]
)
def test_sensor_whose_run_the_services_refuse_fails_without_retry(runs, refusal):
    runs.refusal = refusal
    with pytest.raises(AirflowFailException, match="is refused"):
        sensor().execute(context())


def test_sensor_whose_database_is_away_may_ask_again(runs):
    runs.refusal = ConfigurationError("the database cannot be used", hint="-")
    with pytest.raises(AirflowException) as caught:
        sensor().execute(context())
    assert not isinstance(caught.value, AirflowFailException)
    assert sensor().retries > 0


def test_sensor_of_a_run_asked_for_by_a_stranger_fails(runs):
    with pytest.raises(AirflowFailException, match="is refused"):
        sensor().execute(context(name="root"))


@pytest.mark.parametrize(
    ("run_type", "trigger"),
    [("scheduled", Trigger.SCHEDULED), ("backfill", Trigger.BACKFILL), ("asset_triggered", Trigger.ASSET)],
)
def test_run_that_nobody_asked_for_has_no_actor(runs, run_type, trigger):
    runs.gate = "open"
    sensor().execute(context(run_type=run_type, name=None))
    run = next(iter(runs.opened.values()))
    assert (run.actor, run.trigger) == (None, trigger)


def test_trigger_given_back_by_airflow_is_the_same():
    trigger = ApprovalTrigger("run-1")
    path, arguments = trigger.serialize()
    assert path.endswith("gate.ApprovalTrigger")
    assert ApprovalTrigger(**arguments).run_id == "run-1"
