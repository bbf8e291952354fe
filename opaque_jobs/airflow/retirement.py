"""Keeps the DAG of a job that may no longer run for as long as Airflow needs it to end the runs that wait.

Airflow schedules nothing of a DAG whose file is gone: a run at the gate would then wait for ever instead of failing with the
reason. So the file stays while the job has an open run, and for a while after that.
"""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from opaque_jobs.airflow.stubs import Stub

__all__ = ["Retirement"]


class Retirement:
    """Which files stay beyond their job.

    Args:
        linger_s: Seconds that a file stays after its job's last run was closed.
        clock: Seconds that only go forward.
    """

    def __init__(self, *, linger_s: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._linger_s = linger_s
        self._clock = clock
        self._idle_since: dict[str, float] = {}

    def kept(self, present: Iterable[Stub], *, deployable: Collection[str], with_open_runs: Collection[str]) -> tuple[Stub, ...]:
        """Give those of the present files that stay though their job is not deployable.

        Args:
            present: Files that are there now.
            deployable: Jobs that need a DAG anyway.
            with_open_runs: Jobs that have a queued or running run.
        """
        now = self._clock()
        stays: list[Stub] = []
        for stub in present:
            if stub.job_id in deployable:
                self._idle_since.pop(stub.job_id, None)
                continue
            busy = stub.job_id in with_open_runs
            if busy:
                self._idle_since[stub.job_id] = now
            if busy or now - self._idle_since.setdefault(stub.job_id, now) < self._linger_s:
                stays.append(replace(stub, marker="retired"))
        return tuple(stays)
