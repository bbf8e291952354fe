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

__all__ = ["close_abandoned", "close_lost"]

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
        _discard(context, each.run_id)
    return closed


def close_lost(context: Context, run_id: str) -> None:
    """Close a run if its lease is over: the enclave ends itself without it, so nobody carries the run on."""
    now = context.now()
    with context.store.write() as session:
        record = rows.run(session, run_id)
        if not _lost(record, now):
            return
        close_run(context, session, record, RunEvent.FAIL, actor=None, now=now, reason=CloseReason.WORKER_LOST)
    _discard(context, run_id)


def _discard(context: Context, run_id: str) -> None:
    """Remove what a crash has left: a folder that belongs to no success."""
    discard(context.settings.result_dir(run_id))
    discard(context.settings.test_dir(run_id))


def _lost(record: RunRecord, now: datetime) -> bool:
    return record.state is RunState.RUNNING and record.lease_until is not None and record.lease_until <= now


def _why(record: RunRecord, airflow_states: Mapping[tuple[str, str], str], now: datetime) -> CloseReason | None:
    if _lost(record, now):
        return CloseReason.WORKER_LOST
    airflow = airflow_states.get((record.job_id, record.dag_run_id))
    if record.kind is not RunKind.REAL or airflow not in _ENDED:
        return None
    skipped = airflow == "success" and record.state is RunState.QUEUED
    return CloseReason.SKIPPED if skipped else CloseReason.AIRFLOW_ENDED
