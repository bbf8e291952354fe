"""A DAG that was edited so that nothing stands before the operator."""

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.operator import EnclaveSparkOperator
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.runner.execution import execute


class Operator(EnclaveSparkOperator):
    """The operator without a Spark connection to read; a session must never begin."""

    def carry_out(self, run_id, tell):
        return execute(services(), run_id, cores=1, memory_bytes=1 << 30, on_status=tell, session=never)


def never(*_arguments, **_content):
    raise AssertionError("a session was started")


def context(**over):
    dag_run = {"run_id": "r1", "run_type": "manual", "clear_number": 0, "triggering_user_name": "anna", "conf": {}}
    return {"dag_run": SimpleNamespace(**(dag_run | over)), "ti": SimpleNamespace(try_number=1, max_tries=1)}


def operator(study, job_id):
    digest = study.services.deployments.dag_facts(job_id, 1).digest
    return Operator(task_id="run", job_id=job_id, revision=1, job_digest=digest)


@pytest.fixture
def waiting(study):
    job = study.make_job()
    study.submit(job.id)
    study.vote(job.id, "ben")
    return job.id


def test_operator_without_a_gate_before_it_starts_nothing_while_a_vote_is_out(study, waiting):
    with pytest.raises(AirflowFailException, match="gate of this run is not open"):
        operator(study, waiting).execute(context())


def test_operator_without_a_gate_starts_nothing_after_a_withdrawal(study):
    job = study.accepted_job()
    made = operator(study, job.id)
    study.open_run(job.id, dag_run_id="r1")
    study.withdraw(job.id, "lea")
    with pytest.raises(AirflowFailException, match="gate of this run is not open"):
        made.execute(context())


@pytest.mark.parametrize("name", ["ben", "lea", "mallory", "root", "admin@airflow"])
def test_operator_of_a_run_asked_for_by_somebody_who_may_not_starts_nothing(study, name):
    job = study.accepted_job()
    with pytest.raises(AirflowFailException, match="is refused"):
        operator(study, job.id).execute(context(triggering_user_name=name))


@pytest.mark.parametrize("run_type", ["scheduled", "backfill", "asset_triggered"])
def test_operator_of_a_run_by_a_schedule_that_nobody_approved_starts_nothing(study, run_type):
    job = study.accepted_job()
    with pytest.raises(AirflowFailException, match="is refused"):
        operator(study, job.id).execute(context(triggering_user_name=None, run_type=run_type))


def test_operator_triggered_a_second_time_for_a_single_run_starts_nothing(study):
    job = study.accepted_job()
    run = study.services.runs.start(study.open_run(job.id).id)
    study.services.runs.note_key_request(run.id)
    study.finish(run.id)
    with pytest.raises(AirflowFailException, match="is refused"):
        operator(study, job.id).execute(context(run_id="r2"))


def test_operator_given_other_input_names_in_conf_starts_nothing(study):
    job = study.accepted_job()
    with pytest.raises(AirflowFailException, match="is refused"):
        operator(study, job.id).execute(context(conf={"measurement": "sha256:0"}))
    (refused,) = study.services.runs.history(job.id, actor=study.id("anna"))
    assert (refused.state.value, refused.reason, refused.started_at, refused.inputs) == ("failed", "inputs-refused", None, {})


def test_operator_pointed_at_another_revision_than_its_digest_starts_nothing(study):
    job = study.accepted_job()
    made = Operator(task_id="run", job_id=job.id, revision=1, job_digest="sha256:" + "0" * 64)
    with pytest.raises(AirflowFailException, match="another digest"):
        made.execute(context())
    assert study.services.runs.history(job.id, actor=study.id("anna"))[0].state is RunState.QUEUED
