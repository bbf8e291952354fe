"""The one way in which a run ends: its state and its entry in the log, in one transaction."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import RUN, RunEvent
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.run import RunKind
from opaque_jobs.services import log_book
from opaque_jobs.services.context import Context
from opaque_jobs.store import runs as rows
from opaque_jobs.store.records import RunRecord

__all__ = ["close_run"]


def close_run(
    context: Context, session: Session, record: RunRecord, event: RunEvent, *, actor: str | None, now: datetime, **values: Any
) -> None:
    """End a run.

    Args:
        context: The installation.
        session: The transaction.
        record: The run as it was read.
        event: `succeed`, `fail` or `cancel`.
        actor: The member who did it; None for the system.
        now: When.
        **values: Columns that change with it: reason, reasons, receipt, trust_label.

    Raises:
        ConflictError: It is closed already, or changed meanwhile.
    """
    rows.apply_event(session, record, event, actor=actor, now=now, **values)
    reason, label = values.get("reason"), values.get("trust_label")
    log_book.append(
        context,
        session,
        parse_job_spec(record.spec).workspace_id,
        EntryKind.TEST_RUN if record.kind is RunKind.TEST else EntryKind.OUTCOME,
        record.id,
        now=now,
        document=values.get("receipt"),
        job_digest=record.job_digest,
        state=RUN.next(record.state, event).value,
        reason=None if reason is None else str(reason),
        trust_label=None if label is None else str(label),
    )
