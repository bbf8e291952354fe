"""What Airflow's states mean for a run. Total: a state that Airflow adds one day fails the test, not a run's meaning."""

from typing import Final

from opaque_jobs.domain.lifecycle import RunState

__all__ = ["DAG_RUN_STATES", "TASK_STATES", "run_state"]

TASK_STATES: Final[dict[str | None, RunState]] = {
    None: RunState.QUEUED,
    "removed": RunState.FAILED,
    "scheduled": RunState.QUEUED,
    "queued": RunState.QUEUED,
    "running": RunState.RUNNING,
    "restarting": RunState.RUNNING,
    "success": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "up_for_retry": RunState.QUEUED,
    "up_for_reschedule": RunState.QUEUED,
    "upstream_failed": RunState.FAILED,
    "skipped": RunState.FAILED,
    "deferred": RunState.QUEUED,
    "awaiting_input": RunState.QUEUED,
}
"""State of the enclave task -> run state. A skip is not a success."""

DAG_RUN_STATES: Final[dict[str, RunState | None]] = {
    "queued": RunState.QUEUED,
    "running": None,
    "success": None,
    "failed": RunState.FAILED,
}
"""State of the DAG run -> run state; None where the enclave task decides."""


def run_state(*, dag_run: str, enclave_task: str | None, receipt_verified: bool) -> RunState:
    """Give the state that Airflow's side and the receipt add up to.

    Args:
        dag_run: State of the DAG run.
        enclave_task: State of its enclave task; None if it has none yet.
        receipt_verified: Whether a verified receipt exists.

    Raises:
        KeyError: Airflow says something that this version does not know.
    """
    task = TASK_STATES[enclave_task]
    state = DAG_RUN_STATES[dag_run] or task
    if dag_run == "success" and task is not RunState.SUCCEEDED:
        return RunState.FAILED
    if state is RunState.SUCCEEDED and not receipt_verified:
        # The task reports success only after the receipt; Airflow alone is never believed.
        return RunState.FAILED
    if state is RunState.FAILED and receipt_verified and task is RunState.SUCCEEDED:
        return RunState.SUCCEEDED  # a step after the run failed; the run itself did not
    return state
