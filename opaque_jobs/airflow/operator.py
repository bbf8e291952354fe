"""The operator that runs an approved job in its sandbox.

Everything that Airflow shows (logs, exception texts, rendered fields, conf) is readable by any viewer. So: ids as arguments, no
template fields, no XCom, nothing of the sandbox's output, and exception texts that are fixed.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.runs import open_run
from opaque_jobs.airflow.spark_connection import spark_settings
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.reasons import in_words
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.protocol.views import RunView
from opaque_jobs.runner.execution import RunOutcome, execute
from opaque_jobs.runner.lease import LEASE_S
from opaque_jobs.store.words import CloseReason

__all__ = ["EnclaveSparkOperator"]

_SANDBOX_GONE: Final = (
    CloseReason.SANDBOX_UNAVAILABLE,
    CloseReason.SANDBOX_ENDED,
    CloseReason.STOPPED,
    CloseReason.WORKER_LOST,
)
"""Reasons of a run that says nothing about the job, and whose sandbox is certain to be gone."""


class EnclaveSparkOperator(BaseOperator):
    """Runs one approved job revision and publishes its sealed result with the receipt.

    A retry happens only if the sandbox or its worker was to blame; everything else would fail the same way, or must not happen
    twice. Whether a retry that follows a release of keys may run is for the approved rerun terms to say.

    Args:
        job_id: The job.
        revision: The revision that this DAG was made for.
        job_digest: That revision's digest, which the members approved; a run of another is refused.
        conn_id: A connection of the Spark provider: where and with how much Spark runs.
    """

    template_fields = ()
    ui_color = "#dbe7f5"
    lost_after_s = LEASE_S + 10.0
    """How long a retry waits for an earlier attempt that nobody has closed."""
    poll_s = 1.0

    def __init__(self, *, job_id: str, revision: int, job_digest: str, conn_id: str = "spark_default", **kwargs: Any) -> None:
        defaults: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=10), "do_xcom_push": False}
        super().__init__(**(defaults | kwargs))
        self.job_id = job_id
        self.revision = revision
        self.job_digest = job_digest
        self.conn_id = conn_id
        self._go_on = True

    def execute(self, context: Context) -> None:
        """Run the job to its receipt.

        Raises:
            AirflowFailException: The run failed or is refused.
            AirflowException: The sandbox was not available; Airflow may retry.
        """
        run = self._open(context)
        if run.job_digest != self.job_digest:
            raise AirflowFailException(f"run {run.id} is of another digest than this DAG") from None
        self.log.info("run %s of %s", run.id, run.job_digest)
        started = time.monotonic()

        def tell(word: str) -> None:
            self.log.info("run %s: %s after %.1f s", run.id, word, time.monotonic() - started)

        try:
            outcome = self.carry_out(run.id, tell)
        except OpaqueJobsError as error:
            raise _airflow_error(f"run {run.id} failed: {error.message}", retryable=error.retryable) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold a value and must not reach Airflow's log
            raise AirflowFailException(f"run {run.id} failed: {type(error).__name__} in this program") from None
        if outcome.state is not RunState.SUCCEEDED:
            words = "; ".join([outcome.reason or "no reason given", *(f"{each}: {in_words(each)}" for each in outcome.reasons)])
            raise _airflow_error(f"run {run.id} {outcome.state}: {words}", retryable=outcome.retryable) from None
        tell("succeeded")

    def on_kill(self) -> None:
        """End the sandbox's session. If this is never called, its lease ends it."""
        self._go_on = False

    def carry_out(self, run_id: str, tell: Callable[[str], None]) -> RunOutcome:
        """Run the sandbox's session to its end; `tell` is given each status word."""
        spark = spark_settings(self.conn_id)
        return execute(
            services(),
            run_id,
            cores=spark.cores,
            memory_bytes=spark.memory_bytes,
            keep_open=lambda: self._go_on,
            on_status=tell,
        )

    def _open(self, context: Context) -> RunView:
        """Give the run that never began, or this attempt's; the latter only if each one before lost its sandbox."""
        ti: Any = context["ti"]
        retry = ti.try_number - (ti.max_tries - self.retries)
        for earlier in range(1, retry):
            before = self._over(open_run(context, job_id=self.job_id, revision=self.revision, retry=earlier))
            if before.state is RunState.QUEUED:
                return before
            if before.state is not RunState.FAILED or before.reason not in _SANDBOX_GONE:
                how = before.reason or before.state.value
                raise AirflowFailException(f"run {before.id} before this one: {how}; it is not tried again") from None
        return open_run(context, job_id=self.job_id, revision=self.revision, retry=retry)

    def _over(self, run: RunView) -> RunView:
        """Wait until the lease of an earlier attempt is over, and close it: its sandbox is gone by then."""
        deadline = time.monotonic() + self.lost_after_s
        while run.state is RunState.RUNNING and self._go_on and time.monotonic() < deadline:
            self.log.info("run %s: waiting for the end of its lease", run.id)
            time.sleep(self.poll_s)
            try:
                run = services().runs.close_if_lost(run.id)
            except OpaqueJobsError as error:
                raise AirflowException(f"run {run.id} cannot be closed now: {error.message}") from None
        return run


def _airflow_error(text: str, *, retryable: bool) -> AirflowException:
    return AirflowException(text) if retryable else AirflowFailException(text)
