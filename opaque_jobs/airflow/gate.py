"""The gate: a deferrable sensor that lets a run pass once every member has approved its revision.

It is there for people and for order. It reads only what the services say, through the product's own database, and it is not
what protects the data: the broker verifies every signature itself before it releases a key.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.poller import OPEN, WAITING, Reader, shared_poller
from opaque_jobs.airflow.runs import open_run
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.settings import Settings
from opaque_jobs.store.gate_reader import gate_reader
from opaque_jobs.store.words import CloseReason

__all__ = ["ApprovalSensor", "ApprovalTrigger"]


class ApprovalTrigger(BaseTrigger):
    """Fires when a run may pass the gate, or never will.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run_id = run_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what Airflow needs to make this trigger again."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"run_id": self.run_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait with all other triggers of this process for one shared poll."""
        yield TriggerEvent(await shared_poller(_reader).settled(self.run_id))  # type: ignore[no-untyped-call]


def _reader() -> Reader:
    return gate_reader(Settings.load().database_url)


class ApprovalSensor(BaseSensorOperator):
    """Waits until the job revision is approved by every member; fails at once when it never will be.

    It never times out by itself: the review's own deadline ends the wait. A refusal is final; only when Airflow or our database
    stumbles is the question asked again.

    Args:
        job_id: The job.
        revision: The revision that this DAG runs.
    """

    template_fields = ()

    def __init__(self, *, job_id: str, revision: int, **kwargs: Any) -> None:
        # Seen on a busy machine: the scheduler takes up "deferral done" only when the resumed task runs already, and fails it.
        defaults: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=5), "do_xcom_push": False}
        super().__init__(**(defaults | kwargs))
        self.job_id = job_id
        self.revision = revision

    def execute(self, context: Context) -> None:
        """Open the run, and defer unless its fate is known already.

        Raises:
            AirflowFailException: The run is refused; never retried.
        """
        self._pass_or_wait(open_run(context, job_id=self.job_id, revision=self.revision).id)

    def resume(self, context: Context, event: Any) -> None:  # noqa: ARG002 - an event is a hint; the state is read again
        """Look again after the trigger fired.

        Raises:
            AirflowFailException: The run is refused; never retried.
        """
        self._pass_or_wait(open_run(context, job_id=self.job_id, revision=self.revision).id)

    def _pass_or_wait(self, run_id: str) -> None:
        try:
            state = services().deployments.gate_states([run_id])[run_id]
        except OpaqueJobsError:
            raise AirflowException("the approval state of this run cannot be read now") from None
        if state == WAITING:
            self.log.info("run %s of revision %d waits for approvals", run_id, self.revision)
            self.defer(trigger=ApprovalTrigger(run_id), method_name="resume")
        if state != OPEN:
            if state in set(CloseReason):
                with suppress(OpaqueJobsError):  # closed already, or closed by housekeeping later
                    services().runs.fail(run_id, reason=state)
            raise AirflowFailException(f"run {run_id} may not start: {state}") from None
        self.log.info("run %s of revision %d is approved", run_id, self.revision)
