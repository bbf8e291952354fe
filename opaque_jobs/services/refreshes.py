"""Refreshes of data sets, for the jobs that follow them: which version a run reads, and whether there is a reason for one.

Choosing is all that happens here. That a version is covered by the approval is proved by its manifest to enclave and brokers.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from opaque_jobs.domain.job import DatasetUse, JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import RUN
from opaque_jobs.domain.refresh import use_with
from opaque_jobs.errors import ConflictError
from opaque_jobs.services.datasets import claimed_manifest
from opaque_jobs.store import datasets as dataset_rows
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import runs as run_rows
from opaque_jobs.store.records import RunRecord

__all__ = ["check_news", "due_refreshes", "newer_versions", "refreshed_envelopes", "version_read"]


def newer_versions(session: Session, spec: JobSpec) -> dict[str, int]:
    """Give name -> newest version of the data sets that a job follows and that were refreshed since.

    Raises:
        ConflictError: A refresh changed columns, so that the approval does not cover it.
    """
    found: dict[str, int] = {}
    for use in spec.datasets:
        if use.alias not in spec.rerun_terms.follows:
            continue
        newest = dataset_rows.versions(session, use.dataset_id)[-1]
        if use_with(spec, use, claimed_manifest(newest.envelope)) is None:
            raise ConflictError(
                f"the newest version of '{use.alias}' has other columns than the members approved",
                hint="its author may submit the job again: 'opaque-jobs job revise', then 'opaque-jobs job submit'",
                alias=use.alias,
            )
        if newest.version != use.dataset_version:
            found[use.alias] = newest.version
    return found


def check_news(spec: JobSpec, newer: dict[str, int], runs: Iterable[RunRecord]) -> None:
    """Check that something that a job follows was refreshed since it last began: an event alone is no reason for a run.

    Raises:
        ConflictError: Nothing was.
    """
    begun = [run.refreshed for run in runs if run.started_at is not None]
    for use in spec.datasets:
        read = [each.get(use.alias, use.dataset_version) for each in begun]
        if newer.get(use.alias, 0) > max(read, default=use.dataset_version):
            return
    raise ConflictError(
        "no data set that this job follows was refreshed since its last run",
        hint="refresh one with 'opaque-jobs dataset encrypt --refresh'; a member who may run it can run it by hand",
    )


def due_refreshes(session: Session) -> list[tuple[str, int]]:
    """Give (data set, version) of the refreshes that should start a run and have not: made since the revision was accepted."""
    due: set[tuple[str, int]] = set()
    for revision in job_rows.behind(session):
        spec = parse_job_spec(revision.spec)
        runs = run_rows.runs_of_revisions(session, [(revision.job_id, revision.revision)])
        if not spec.rerun_terms.on_refresh or any(not RUN.terminal(run.state) for run in runs):
            continue
        try:
            newer = newer_versions(session, spec)
            check_news(spec, newer, runs)
        except ConflictError:
            continue
        for use in spec.datasets:
            version = newer.get(use.alias)
            if version is not None and _made_since(session, use.dataset_id, version, revision.decided_at):
                due.add((use.dataset_id, version))
    return sorted(due)


def _made_since(session: Session, dataset_id: str, version: int, moment: datetime | None) -> bool:
    return moment is not None and dataset_rows.version(session, dataset_id, version).registered_at > moment


def version_read(use: DatasetUse, record: RunRecord) -> int:
    """Give the version of a data set that a run reads."""
    return record.refreshed.get(use.alias, use.dataset_version)


def refreshed_envelopes(session: Session, spec: JobSpec, record: RunRecord) -> dict[str, str]:
    """Give name -> manifest envelope of those that a run reads in a newer version than its job names."""
    return {
        use.alias: dataset_rows.version(session, use.dataset_id, record.refreshed[use.alias]).envelope.decode()
        for use in spec.datasets
        if use.alias in record.refreshed
    }
