"""Names under which Airflow knows our things."""

from typing import Final

__all__ = ["DAG_PREFIX", "GATE_TASK", "RUN_TASK", "asset_name", "asset_uri", "dag_id_of", "job_id_of"]

DAG_PREFIX: Final = "opaque-jobs."
GATE_TASK: Final = "wait_for_approvals"
RUN_TASK: Final = "run_in_enclave"


def dag_id_of(job_id: str) -> str:
    """Give the id of a job's DAG."""
    return DAG_PREFIX + job_id


def job_id_of(dag_id: str) -> str | None:
    """Give the job of a DAG, or None for a DAG that is none of ours."""
    return dag_id.removeprefix(DAG_PREFIX) if dag_id.startswith(DAG_PREFIX) else None


def asset_name(dataset_id: str) -> str:
    """Give the name of a data set's asset, whose events are its refreshes."""
    return DAG_PREFIX + dataset_id


def asset_uri(dataset_id: str) -> str:
    """Give the address of a data set's asset; it leads nowhere."""
    return f"opaque-jobs://data-set/{dataset_id}"
