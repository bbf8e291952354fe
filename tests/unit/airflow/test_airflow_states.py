from itertools import product

import pytest
from airflow.utils.state import DagRunState, TaskInstanceState

from opaque_jobs.airflow.states import DAG_RUN_STATES, TASK_STATES, run_state
from opaque_jobs.domain.lifecycle import RunState


def test_task_states_are_exactly_those_of_airflow():
    assert set(TASK_STATES) == {None, *(state.value for state in TaskInstanceState)}


def test_dag_run_states_are_exactly_those_of_airflow():
    assert set(DAG_RUN_STATES) == {state.value for state in DagRunState}


@pytest.mark.parametrize(("dag_run", "task"), list(product(DAG_RUN_STATES, TASK_STATES)))
def test_run_state_without_a_receipt_is_never_succeeded(dag_run, task):
    assert run_state(dag_run=dag_run, enclave_task=task, receipt_verified=False) is not RunState.SUCCEEDED


@pytest.mark.parametrize("task", [task for task in TASK_STATES if task != "success"])
def test_run_state_of_a_successful_dag_run_whose_enclave_task_did_not_succeed_is_failed(task):
    assert run_state(dag_run="success", enclave_task=task, receipt_verified=True) is RunState.FAILED


def test_run_state_with_success_and_receipt_is_succeeded():
    assert run_state(dag_run="success", enclave_task="success", receipt_verified=True) is RunState.SUCCEEDED


@pytest.mark.parametrize("task", ["scheduled", "queued", "deferred", None, "up_for_retry"])
def test_run_state_before_the_enclave_task_runs_is_queued(task):
    assert run_state(dag_run="running", enclave_task=task, receipt_verified=False) is RunState.QUEUED


def test_run_state_with_a_failed_later_step_keeps_the_success():
    assert run_state(dag_run="failed", enclave_task="success", receipt_verified=True) is RunState.SUCCEEDED
