"""Airflow's REST interface, as much of it as the command line and housekeeping need.

Starting a run by REST takes about a second; Airflow's own command line needs fourteen.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx

from opaque_jobs.airflow.ids import RUN_TASK, asset_name, dag_id_of, job_id_of
from opaque_jobs.airflow.logins import read_logins
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, InvalidInputError, NotFoundError, OpaqueJobsError
from opaque_jobs.settings import Settings

__all__ = ["AirflowRest", "DagRunView"]

_POLL_S: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRunView:
    """A DAG run as Airflow tells it.

    Args:
        job_id: The job.
        dag_run_id: Its name.
        state: `queued`, `running`, `success` or `failed`.
        tasks: Task id -> state.
    """

    job_id: str
    dag_run_id: str
    state: str
    tasks: dict[str, str | None]

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in ("success", "failed")

    @property
    def enclave_task(self) -> str | None:
        """State of the enclave task."""
        return self.tasks.get(RUN_TASK)


class AirflowRest:
    """A logged-in client. Use as a context manager.

    Args:
        address: Such as `http://127.0.0.1:8080`.
        name: Log-in name.
        password: Its password.

    Raises:
        ConfigurationError: Airflow does not answer.
        DeniedError: Name or password is wrong.
    """

    def __init__(self, address: str, *, name: str, password: str) -> None:
        self._client = httpx.Client(base_url=address, timeout=30.0, trust_env=False)
        try:
            answer = self._send("POST", "/auth/token", json={"username": name, "password": password})
            self._client.headers["Authorization"] = f"Bearer {answer['access_token']}"
        except BaseException:
            self._client.close()
            raise

    @classmethod
    def as_login(cls, settings: Settings, address: str, name: str) -> Self:
        """Log in with the password that this home's launcher generated.

        Raises:
            NotFoundError: There is no log-in for that name.
        """
        password = read_logins(settings).get(name)
        if password is None:
            raise NotFoundError("this name has no log-in for Airflow", hint="see 'opaque-jobs airflow logins'")
        return cls(address, name=name, password=password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def wait_for_dag(self, job_id: str, *, tag: str | None = None, timeout_s: float = 60.0) -> None:
        """Wait until the job's DAG is visible (and tagged so).

        Raises:
            ConflictError: It is not, in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                dag = self._send("GET", f"/api/v2/dags/{dag_id_of(job_id)}")
                if not dag["is_stale"] and (tag is None or tag in {each["name"] for each in dag["tags"]}):
                    return
            except (NotFoundError, DeniedError):
                pass  # an unknown DAG and one that may not be seen look the same until it is there
            time.sleep(_POLL_S)
        raise ConflictError("the job's DAG did not appear in Airflow", hint="is the job under review or accepted?", job=job_id)

    def trigger(self, job_id: str, *, inputs: Mapping[str, Any], dag_run_id: str | None = None) -> str:
        """Start a DAG run and give its name.

        Raises:
            InvalidInputError: An input value is outside its declaration.
            DeniedError: The log-in may not run this job.
            ConflictError: A DAG run of that name exists.
        """
        body = {"logical_date": None, "conf": dict(inputs)} | ({"dag_run_id": dag_run_id} if dag_run_id else {})
        return str(self._send("POST", f"/api/v2/dags/{dag_id_of(job_id)}/dagRuns", json=body)["dag_run_id"])

    def announce_refresh(self, dataset_id: str) -> bool:
        """Tell that a data set has a newer version, which starts the jobs that run on its refreshes.

        Returns:
            False if Airflow knows no job that does.
        """
        name = asset_name(dataset_id)
        for asset in self._pages("/api/v2/assets", "assets", name_pattern=name):
            if asset["name"] == name:
                self._send("POST", "/api/v2/assets/events", json={"asset_id": asset["id"], "extra": {}})
                return True
        return False

    def clear(self, job_id: str, dag_run_id: str) -> None:
        """Run a DAG run again, with the revision and inputs that it had."""
        self._send("POST", f"/api/v2/dags/{dag_id_of(job_id)}/dagRuns/{dag_run_id}/clear", json={"dry_run": False})

    def mark_failed(self, job_id: str, dag_run_id: str) -> None:
        """End a DAG run, as cancelling in Airflow's pages does."""
        self._send("PATCH", f"/api/v2/dags/{dag_id_of(job_id)}/dagRuns/{dag_run_id}", json={"state": "failed"})

    def dag_run(self, job_id: str, dag_run_id: str) -> DagRunView:
        """Give one DAG run.

        Raises:
            NotFoundError: There is none of that name.
        """
        path = f"/api/v2/dags/{dag_id_of(job_id)}/dagRuns/{dag_run_id}"
        tasks = self._send("GET", f"{path}/taskInstances")["task_instances"]
        return DagRunView(
            job_id=job_id,
            dag_run_id=dag_run_id,
            state=self._send("GET", path)["state"],
            tasks={task["task_id"]: task["state"] for task in tasks},
        )

    def wait_for(self, job_id: str, dag_run_id: str, *, timeout_s: float) -> DagRunView:
        """Wait until a DAG run is over.

        Raises:
            ConflictError: It is not, in time.
        """
        deadline = time.monotonic() + timeout_s
        while not (run := self.dag_run(job_id, dag_run_id)).ended:
            if time.monotonic() > deadline:
                raise ConflictError("the DAG run is not over", hint="look at it in Airflow", dag_run=dag_run_id)
            time.sleep(_POLL_S)
        return run

    def dag_run_states(self) -> dict[tuple[str, str], str]:
        """Give (job id, DAG run id) -> state for all of our DAG runs that this log-in may see."""
        found: dict[tuple[str, str], str] = {}
        for run in self._pages("/api/v2/dags/~/dagRuns", "dag_runs"):
            job_id = job_id_of(run["dag_id"])
            if job_id is not None:
                found[job_id, run["dag_run_id"]] = run["state"]
        return found

    def import_errors(self) -> list[str]:
        """Give the files that Airflow could not load."""
        return [each["filename"] for each in self._pages("/api/v2/importErrors", "import_errors")]

    def ensure_spark_connection(self, conn_id: str = "spark_default") -> None:
        """Make the Spark connection if there is none: local mode with all threads. What people set is left alone."""
        try:
            self._send("GET", f"/api/v2/connections/{conn_id}")
        except NotFoundError:
            body = {"connection_id": conn_id, "conn_type": "spark", "host": "local[*]", "extra": '{"deploy-mode": "client"}'}
            self._send("POST", "/api/v2/connections", json=body)

    def _pages(self, path: str, key: str, **filters: str) -> Iterator[dict[str, Any]]:
        offset, total = 0, 1
        while offset < total:
            page = self._send("GET", path, params={**filters, "limit": 100, "offset": offset})
            total = page["total_entries"]
            offset += len(page[key]) or total
            yield from page[key]

    def _send(self, method: str, path: str, **content: Any) -> Any:
        try:
            answer = self._client.request(method, path, **content)
        except httpx.HTTPError:
            raise ConfigurationError("Airflow does not answer", hint="start it with 'opaque-jobs up'") from None
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _error(answer.status_code)


def _error(status: int) -> OpaqueJobsError:
    """Give the error for a refusal. Airflow's own text may hold input values, so it is not passed on."""
    kinds: dict[int, OpaqueJobsError] = {
        400: InvalidInputError("Airflow refuses the input values", hint="see 'opaque-jobs job show' for the declarations"),
        401: DeniedError("Airflow does not accept this log-in", hint="see 'opaque-jobs airflow logins'"),
        403: DeniedError("this log-in may not do that", hint="who may is the workspace's run policy"),
        404: NotFoundError("Airflow does not know that", hint="is the job under review or accepted?"),
        409: ConflictError("Airflow has that already", hint="choose another name for the run"),
        422: InvalidInputError("Airflow refuses the request", hint="is the name of the run valid?"),
    }
    return kinds.get(status) or ConfigurationError("Airflow failed", hint="read the API server's log", status=status)
