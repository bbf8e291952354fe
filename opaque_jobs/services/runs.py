"""Runs: who may start one, what state it is in, and the gate in front of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opaque_jobs.domain.run import Trigger
from opaque_jobs.services.context import Context
from opaque_jobs.services.views import ClosedRun, DagFacts, DeployableRevision, ReceiptContext, RunView

__all__ = ["Runs"]


class Runs:
    """Use cases about runs. Every change is a compare-and-set; a closed run stays closed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def open(
        self,
        *,
        job_id: str,
        revision: int,
        dag_run_id: str,
        attempt: int,
        actor: str | None,
        trigger: Trigger,
        inputs: Mapping[str, Any],
    ) -> RunView:
        """Make a queued run; the same (job, DAG run, attempt) gives the same run again.

        Args:
            job_id: The job.
            revision: A revision under review or accepted.
            dag_run_id: Airflow's name of the DAG run.
            attempt: 1, 2, ...
            actor: The member who asked; None for a schedule, backfill or asset event.
            trigger: How it came about.
            inputs: Given values, by name; defaults are filled in.

        Raises:
            DeniedError: The run policy does not name the actor, or nobody asked and no schedule was approved.
            InvalidInputError: An unknown or fixed variable, or a value outside its constraints.
            ConflictError: The revision cannot run, or its lease is used up.
        """
        raise NotImplementedError

    def start(self, run_id: str, *, lease_s: int = 60) -> RunView:
        """Begin a queued run whose gate is open; it is abandoned if the lease is not renewed in time.

        Raises:
            ConflictError: Not queued, or the gate is not open (`facts["word"]` says why).
        """
        raise NotImplementedError

    def renew_lease(self, run_id: str, *, lease_s: int = 60, progress: str | None = None) -> bool:
        """Prolong the lease; False if the run is closed, and then the enclave must end."""
        raise NotImplementedError

    def fail(self, run_id: str, *, reason: str, reasons: Sequence[str] = ()) -> RunView:
        """Close an open run as failed. Success comes from `execution.execute` alone, with its receipt.

        Args:
            run_id: The run.
            reason: A word of `store.words.CloseReason`.
            reasons: A broker's refusal codes.

        Raises:
            ConflictError: It is closed already.
        """
        raise NotImplementedError

    def cancel(self, run_id: str, *, actor: str) -> RunView:
        """Cancel a queued or running run.

        Raises:
            DeniedError: The actor may not run this job.
        """
        raise NotImplementedError

    def show(self, run_id: str, *, actor: str) -> RunView:
        """Give a run to a member of its workspace."""
        raise NotImplementedError

    def history(self, job_id: str, *, actor: str) -> list[RunView]:
        """Give a job's runs, newest first."""
        raise NotImplementedError

    def result_folder(self, run_id: str, *, actor: str) -> Path:
        """Give the folder of the sealed result (real) or of the test result (test).

        Raises:
            DeniedError: A real result, and the actor is not of the author's organisation.
            ConflictError: The run has not succeeded.
        """
        raise NotImplementedError

    def receipt(self, run_id: str, *, actor: str) -> ReceiptContext:
        """Give a succeeded run's receipt with all that is needed to verify it, to any member of the workspace.

        Raises:
            ConflictError: There is no receipt.
        """
        raise NotImplementedError

    def start_test(self, *, actor: str, job_id: str, inputs: Mapping[str, Any]) -> RunView:
        """Make a queued test run of the draft (author) or of the revision under review (any member); then `execute_test`.

        Raises:
            ConflictError: A data set has no test data.
        """
        raise NotImplementedError

    def gate_states(self, ids: Sequence[str]) -> dict[str, str]:
        """Tell for run ids or revision ids (`<job id>@<revision>`) whether the gate is `waiting`, `open`, or why it refuses."""
        raise NotImplementedError

    def deployable(self) -> list[DeployableRevision]:
        """Give the revisions that need a DAG: under review or accepted, not archived; by job and revision."""
        raise NotImplementedError

    def dag_facts(self, job_id: str, revision: int) -> DagFacts:
        """Give what the DAG of a revision is made of.

        Raises:
            NotFoundError: No such revision.
        """
        raise NotImplementedError

    def reconcile(self, airflow_states: Mapping[tuple[str, str], str]) -> list[ClosedRun]:
        """Close real runs that nobody carries on.

        Args:
            airflow_states: (job id, DAG run id) -> Airflow's DAG run state (`queued`, `running`, `success`, `failed`).

        Returns:
            What was closed: Airflow has ended and the run has not, or its lease is over.
        """
        raise NotImplementedError
