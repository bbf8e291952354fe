"""Rules about runs, pure: who may start one, with which inputs, and what used up the lease."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from opaque_jobs.domain.inputs import effective_inputs
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.reasons import in_words
from opaque_jobs.domain.rerun_terms import lease_refusals
from opaque_jobs.domain.run import Trigger
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError
from opaque_jobs.store.records import RunRecord
from opaque_jobs.store.runs import KeyUse
from opaque_jobs.store.words import CloseReason

__all__ = ["check_lease", "check_runner", "checked_inputs", "releases"]

_NOTHING_RELEASED: Final = {CloseReason.BROKER_REFUSED, CloseReason.BROKER_UNREACHABLE}


def check_runner(spec: JobSpec, roster: Roster, *, actor: str | None, trigger: Trigger) -> None:
    """Check that somebody may run the job, or that nobody needs to because this kind of schedule was approved.

    Raises:
        DeniedError: Neither.
    """
    if actor is None:
        cron, on_refresh = spec.rerun_terms.schedule is not None, spec.rerun_terms.on_refresh
        allowed = {
            Trigger.MANUAL: False,
            Trigger.ASSET: on_refresh,
            Trigger.SCHEDULED: cron,
            Trigger.BACKFILL: cron,
            Trigger.CLEARED: cron or on_refresh,
        }
        if not allowed[trigger]:
            raise DeniedError("nobody who may run this job asked for it", hint="trigger it as a member who may run it")
    elif not roster.may_run(actor, author_id=spec.author_id):
        raise DeniedError(
            "you may not run this job", hint="the workspace's run policy says who may", policy=roster.run_policy.value
        )


def checked_inputs(spec: JobSpec, given: Mapping[str, Any], *, test: bool = False) -> dict[str, Any]:
    """Give the effective input values; variables that the rerun terms do not name keep their default (but in tests).

    Raises:
        InvalidInputError: An unknown or fixed variable, or a value outside its constraints.
    """
    values = effective_inputs(spec.inputs, given, aliases=spec.aliases)
    if test:
        return values
    for variable in spec.inputs:
        if variable.sensitive and variable.name in given:
            raise InvalidInputError(
                f"input variable '{variable.name}' is sensitive, so no run may be given a value for it",
                hint="start the run without it; its value is in the job",
                variable=variable.name,
            )
        fixed = variable.name not in spec.rerun_terms.variable_inputs
        if fixed and variable.name in given and given[variable.name] != variable.default:
            raise InvalidInputError(
                f"input variable '{variable.name}' may not be set", hint="the approved terms fix it", variable=variable.name
            )
    return values


def check_lease(spec: JobSpec, runs: Iterable[RunRecord], *, now: datetime) -> None:
    """Check that one more run is within the approved terms. The brokers count for themselves; this is for people.

    Raises:
        ConflictError: It is not; `facts["reasons"]` says why.
    """
    reasons = lease_refusals(spec.rerun_terms, now=now, releases=releases(runs))
    if reasons:
        raise ConflictError(
            "the approved rerun terms do not allow another run now: " + "; ".join(map(in_words, reasons)),
            hint="see the job's rerun terms; more needs a new review",
            word=CloseReason.LEASE_REFUSED.value,
            reasons=",".join(reasons),
        )


def releases(runs: Iterable[RunRecord | KeyUse]) -> list[datetime]:
    """Give when keys were asked for by those of the runs that count towards the terms."""
    return [run.keys_asked_at for run in runs if run.keys_asked_at is not None and not _came_to_nothing(run)]


def _came_to_nothing(run: RunRecord | KeyUse) -> bool:
    return run.state is RunState.FAILED and run.reason in _NOTHING_RELEASED
