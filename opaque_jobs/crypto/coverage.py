"""The versions that a run reads, proved: every newer one than the job names by a manifest that its owner signed.

Brokers, services and whoever verifies a receipt call this; the enclave verifies all its manifests by the same rule.
"""

from collections.abc import Iterable, Mapping
from typing import NoReturn

from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.domain.job import DatasetUse, JobSpec
from opaque_jobs.domain.refresh import use_with
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import TrustError

__all__ = ["uses_of_run"]


def uses_of_run(spec: JobSpec, refreshed: Mapping[str, str], members: Iterable[MemberEntry]) -> tuple[DatasetUse, ...]:
    """Give the job's data sets with the versions that one run reads.

    Args:
        spec: The approved job.
        refreshed: Name -> manifest envelope (JSON text), of those that are newer than the job names, and of no others.
        members: Of the job's roster.

    Raises:
        InvalidInputError: A manifest does not parse.
        TrustError: A version is not covered by the approval, or not signed by a member of its owner.
    """
    known = tuple(members)
    if not set(refreshed) <= set(spec.rerun_terms.follows):
        _refuse()
    return tuple(_refreshed(spec, use, refreshed[use.alias], known) if use.alias in refreshed else use for use in spec.datasets)


def _refreshed(spec: JobSpec, use: DatasetUse, envelope: str, members: tuple[MemberEntry, ...]) -> DatasetUse:
    found = use_with(spec, use, verify_manifest(envelope.encode(), members))
    if found is None or found == use:
        _refuse()
    return found


def _refuse() -> NoReturn:
    raise TrustError(
        "a run reads a version of a data set that the members have not approved",
        hint="its author may submit the job again with the version that there is now",
    )
