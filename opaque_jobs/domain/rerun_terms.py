"""Rerun terms: a lease on an approved job, which ends by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.errors import InvalidInputError

__all__ = ["RerunTerms", "lease_refusals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunTerms:
    """What the members approve about how often a job may run.

    Args:
        max_runs: Real runs in all; 1 is a single run without reruns.
        not_before: UTC, RFC 3339, or None.
        not_after: UTC, RFC 3339, or None; required when `max_runs` is above 1.
        min_interval_s: Seconds between two runs.
        schedule: A cron expression, or None for runs on request.
        variable_inputs: Input variables that a runner may set; the others keep their default.
        follows: Names of data sets of which newer versions by the same owner with the same columns are approved too; of all
            others exactly the version that the job names.
        on_refresh: A newer version of one that it follows starts a run.

    Raises:
        InvalidInputError: The terms contradict themselves.
    """

    max_runs: int
    not_before: str | None
    not_after: str | None
    min_interval_s: int
    schedule: str | None
    variable_inputs: tuple[str, ...]
    follows: tuple[str, ...] = ()
    on_refresh: bool = False

    def __post_init__(self) -> None:
        try:
            start = parse_datetime(self.not_before) if self.not_before else None
            end = parse_datetime(self.not_after) if self.not_after else None
        except ValueError:
            raise InvalidInputError(
                "the rerun terms have a date that is not valid", hint="write it as 2026-12-31T00:00:00+00:00"
            ) from None
        if self.max_runs < 1 or self.min_interval_s < 0:
            raise InvalidInputError("the rerun terms need at least one run and no negative interval", hint="see --max-runs")
        if self.max_runs > 1 and end is None:
            raise InvalidInputError("more than one run, or reruns, need a last day", hint="give --until YYYY-MM-DD")
        if start and end and start >= end:
            raise InvalidInputError("the rerun terms end before they start", hint="swap the dates")
        if (self.schedule is not None or self.follows) and self.max_runs == 1:
            raise InvalidInputError("a schedule, or following refreshes, needs more than one run", hint="give --max-runs")
        if self.on_refresh and (not self.follows or self.schedule is not None):
            raise InvalidInputError(
                "a job that runs on refreshes follows a data set and has no other schedule",
                hint="give --follow, and --on-refresh or --schedule",
            )


def lease_refusals(terms: RerunTerms, *, now: datetime, releases: Sequence[datetime]) -> list[str]:
    """Give the reasons why one more run is outside the terms; empty if it is within.

    Args:
        terms: The approved terms.
        now: Aware time, taken once.
        releases: When keys were released for this job digest before.
    """
    reasons = []
    if len(releases) >= terms.max_runs:
        reasons.append("lease-used-up")
    if terms.not_before and now < parse_datetime(terms.not_before):
        reasons.append("lease-not-begun")
    if terms.not_after and now > parse_datetime(terms.not_after):
        reasons.append("lease-ended")
    if releases and now - max(releases) < timedelta(seconds=terms.min_interval_s):
        reasons.append("lease-interval")
    return reasons
