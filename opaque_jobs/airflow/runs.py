"""Which of our runs an Airflow task belongs to.

Both tasks of a DAG run ask for the run with the same facts and get the same one, so nothing travels between them by XCom.
"""

from typing import Any, Final

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from opaque_jobs.airflow.access import services
from opaque_jobs.domain.run import Trigger
from opaque_jobs.errors import ConfigurationError, OpaqueJobsError
from opaque_jobs.protocol.views import RunView

__all__ = ["attempt_number", "how_triggered", "open_run"]

_HOW: Final = {
    "manual": Trigger.MANUAL,
    "operator_triggered": Trigger.MANUAL,
    "scheduled": Trigger.SCHEDULED,
    "backfill": Trigger.BACKFILL,
    "asset_triggered": Trigger.ASSET,
    "asset_materialization": Trigger.ASSET,
}
_TRIES_A_CLEARING: Final = 100


def how_triggered(run_type: str, clear_number: int) -> Trigger:
    """Tell how a run came about; a cleared one is a rerun, whatever it was before."""
    return Trigger.CLEARED if clear_number else _HOW[run_type]


def attempt_number(clear_number: int, retry: int) -> int:
    """Number the attempts of one DAG run: 1, 2, ... and 101, 102, ... after it was cleared once.

    Args:
        clear_number: How often the DAG run was cleared.
        retry: 1 for the first try since then, 2 for its first retry.
    """
    return clear_number * _TRIES_A_CLEARING + retry


def open_run(context: Context, *, job_id: str, revision: int, retry: int = 1) -> RunView:
    """Give the run of this DAG run, recording it on first sight with the effective input values.

    Raises:
        AirflowFailException: The services refuse it: an unknown or wrong input, nobody who may run the job, a lease that is
            used up. The text names no value.
        AirflowException: Our database cannot be reached now; Airflow may retry.
    """
    dag_run: Any = context["dag_run"]
    cleared = dag_run.clear_number or 0
    name = dag_run.triggering_user_name
    try:
        return services().runs.open(
            job_id=job_id,
            revision=revision,
            dag_run_id=dag_run.run_id,
            attempt=attempt_number(cleared, retry),
            actor=services().workspaces.member_for_login(name).id if name else None,
            trigger=how_triggered(str(getattr(dag_run.run_type, "value", dag_run.run_type)), cleared),
            inputs=dict(dag_run.conf or {}),
        )
    except ConfigurationError as error:
        raise AirflowException(f"a run of revision {revision} cannot be recorded: {error.message} ({error.hint})") from None
    except OpaqueJobsError as error:
        raise AirflowFailException(f"a run of revision {revision} is refused: {error.message} ({error.hint})") from None
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold a value and must not reach Airflow's log
        raise AirflowFailException(f"a run of revision {revision} is refused: {type(error).__name__} in this program") from None
