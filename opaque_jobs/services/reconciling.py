"""Closing runs that nobody carries on: the only place that does it.

Airflow's callbacks fire twice or never, and a killed process says nothing. What is true is the lease in the database: the
enclave ends itself without it, and a closed run publishes nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from opaque_jobs.domain.lifecycle import RunEvent, RunState
from opaque_jobs.domain.run import RunKind
from opaque_jobs.protocol.views import ClosedRun
from opaque_jobs.services.closing import close_run
from opaque_jobs.services.context import Context
from opaque_jobs.storage.publishing import discard
from opaque_jobs.store import runs as rows
from opaque_jobs.store.records import RunRecord
from opaque_jobs.store.words import CloseReason

__all__ = ["close_abandoned"]

_ENDED: Final = frozenset({"success", "failed"})


def close_abandoned(context: Context, airflow_states: Mapping[tuple[str, str], str]) -> list[ClosedRun]:
    """Close every open run that Airflow has ended or whose lease is over."""
    now = context.now()
    closed: list[ClosedRun] = []
    with context.store.write() as session:
        for record in rows.open_runs(session):
            reason = _why(record, airflow_states, now)
            if reason is None:
                continue
            close_run(context, session, record, RunEvent.FAIL, actor=None, now=now, reason=reason)
            closed.append(ClosedRun(run_id=record.id, reason=reason.value))
    for each in closed:
        # A crash leaves a folder that belongs to no success.
        discard(context.settings.result_dir(each.run_id))
        discard(context.settings.test_dir(each.run_id))
    return closed


def _why(record: RunRecord, airflow_states: Mapping[tuple[str, str], str], now: datetime) -> CloseReason | None:
    if record.state is RunState.RUNNING and record.lease_until is not None and record.lease_until <= now:
        return CloseReason.LEASE_OVER
    ended = airflow_states.get((record.job_id, record.dag_run_id)) in _ENDED
    return CloseReason.AIRFLOW_ENDED if record.kind is RunKind.REAL and ended else None
