"""How much of its approved rerun terms a revision has used, for people and for schedules. The brokers count for themselves."""

from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy.orm import Session

from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.rerun_terms import RerunTerms, lease_refusals
from opaque_jobs.protocol.views import LeaseView
from opaque_jobs.services.run_rules import releases
from opaque_jobs.services.schedules import next_times
from opaque_jobs.store import runs as rows
from opaque_jobs.store.records import RevisionRecord

__all__ = ["lease_of", "leases_over"]

_FOR_GOOD: Final = ("lease-ended", "lease-used-up")


def lease_of(session: Session, spec: JobSpec, *, accepted: bool, now: datetime) -> LeaseView:
    """Give what is used and left of a revision's terms; `next_run` only if it is accepted and not over."""
    used = releases(rows.runs_of_revisions(session, [(spec.job_id, spec.revision)]))
    terms = spec.rerun_terms
    over = _over(terms, used, now)
    ticks = next_times(terms.schedule, after=now, count=1) if terms.schedule and accepted and over is None else [None]
    return LeaseView(
        max_runs=terms.max_runs,
        used=len(used),
        left=0 if over else terms.max_runs - len(used),
        until=parse_datetime(terms.not_after) if terms.not_after else None,
        next_run=ticks[0],
        over=over,
    )


def leases_over(session: Session, revisions: list[RevisionRecord], *, now: datetime) -> dict[tuple[str, int], str]:
    """Give (job, revision) -> code of those whose lease is over for good, reading the runs of all in one query."""
    used: dict[tuple[str, int], list[datetime]] = {}
    for run in rows.key_uses(session):
        for moment in releases([run]):
            used.setdefault((run.job_id, run.revision), []).append(moment)
    found = {}
    for each in revisions:
        key = (each.job_id, each.revision)
        over = _over(_terms(each.spec), used.get(key, []), now)
        if over is not None:
            found[key] = over
    return found


@lru_cache(maxsize=16384)
def _terms(spec: bytes) -> RerunTerms:
    return parse_job_spec(spec).rerun_terms


def _over(terms: RerunTerms, used: list[datetime], now: datetime) -> str | None:
    return next((code for code in lease_refusals(terms, now=now, releases=used) if code in _FOR_GOOD), None)
