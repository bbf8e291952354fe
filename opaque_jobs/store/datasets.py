"""Data sets, their versions and where they are shared."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from opaque_jobs.domain.dataset import DatasetManifest, TestDataKind
from opaque_jobs.errors import ConflictError, NotFoundError
from opaque_jobs.store.records import (
    DatasetRecord,
    DatasetVersionRecord,
    RevisionDatasetRecord,
    ShareRecord,
    add,
    compare_and_set,
    fetch,
    fetch_one,
)
from opaque_jobs.store.tables import DatasetRow, DatasetVersionRow, RevisionDatasetRow, ShareRow

__all__ = [
    "add_dataset",
    "add_share",
    "add_version",
    "check_unused",
    "dataset",
    "of_organisation",
    "remove_dataset",
    "remove_share",
    "set_envelope",
    "set_released",
    "set_test_data",
    "shared_into",
    "shares",
    "version",
    "versions",
]


def add_dataset(session: Session, record: DatasetRecord) -> None:
    """Insert a data set."""
    add(session, DatasetRow, record)


def dataset(session: Session, dataset_id: str) -> DatasetRecord:
    """Give a data set.

    Raises:
        NotFoundError: None by that id.
    """
    found = fetch_one(session, DatasetRecord, DatasetRow, DatasetRow.id == dataset_id)
    if found is None:
        raise NotFoundError("no such data set", hint="list them with 'opaque-jobs dataset list'")
    return found


def of_organisation(session: Session, organisation_id: str) -> list[DatasetRecord]:
    """Give an organisation's data sets, by name."""
    return fetch(session, DatasetRecord, DatasetRow, DatasetRow.organisation_id == organisation_id, order=DatasetRow.name)


def shared_into(session: Session, workspace_id: str) -> list[DatasetRecord]:
    """Give the data sets shared into a workspace, by name."""
    ids = select(ShareRow.dataset_id).where(ShareRow.workspace_id == workspace_id)
    return fetch(session, DatasetRecord, DatasetRow, DatasetRow.id.in_(ids), order=(DatasetRow.name, DatasetRow.id))


def set_test_data(session: Session, dataset_id: str, kind: TestDataKind, path: str | None) -> None:
    """Change what stands in for a data set in tests."""
    compare_and_set(session, DatasetRow, DatasetRow.id == dataset_id, test_data_kind=kind, test_data_path=path)


def set_released(session: Session, dataset_id: str, envelope: bytes) -> None:
    """Keep what the owner signed of the columns that jobs may read."""
    compare_and_set(session, DatasetRow, DatasetRow.id == dataset_id, released=envelope)


def check_unused(session: Session, dataset_id: str) -> None:
    """Check that a data set can be deleted.

    Raises:
        ConflictError: It is still shared, or a revision reads it.
    """
    used = fetch(session, RevisionDatasetRecord, RevisionDatasetRow, RevisionDatasetRow.dataset_id == dataset_id)
    if used or shares(session, dataset_id):
        raise ConflictError("the data set is still shared, or a job has used it", hint="un-share it; jobs that used it keep it")


def remove_dataset(session: Session, dataset_id: str) -> None:
    """Delete a data set and its versions.

    Raises:
        ConflictError: It is still shared, or a revision reads it.
    """
    check_unused(session, dataset_id)
    session.execute(delete(DatasetVersionRow).where(DatasetVersionRow.dataset_id == dataset_id))
    session.execute(delete(DatasetRow).where(DatasetRow.id == dataset_id))


def add_version(session: Session, record: DatasetVersionRecord) -> None:
    """Insert a version."""
    add(session, DatasetVersionRow, record)


def versions(session: Session, dataset_id: str) -> list[DatasetVersionRecord]:
    """Give the versions of a data set, ascending."""
    where = DatasetVersionRow.dataset_id == dataset_id
    return fetch(session, DatasetVersionRecord, DatasetVersionRow, where, order=DatasetVersionRow.version)


def set_envelope(session: Session, manifest: DatasetManifest, envelope: bytes) -> None:
    """Replace the signature over an unchanged manifest.

    Raises:
        ConflictError: No version has this manifest.
    """
    compare_and_set(
        session,
        DatasetVersionRow,
        DatasetVersionRow.dataset_id == manifest.dataset_id,
        DatasetVersionRow.version == manifest.dataset_version,
        DatasetVersionRow.manifest_digest == manifest.digest,
        envelope=envelope,
    )


def version(session: Session, dataset_id: str, number: int) -> DatasetVersionRecord:
    """Give one version.

    Raises:
        NotFoundError: There is none of that number.
    """
    where = (DatasetVersionRow.dataset_id == dataset_id, DatasetVersionRow.version == number)
    found = fetch_one(session, DatasetVersionRecord, DatasetVersionRow, *where)
    if found is None:
        raise NotFoundError("no such version of the data set", hint="see 'opaque-jobs dataset show'", version=number)
    return found


def add_share(session: Session, record: ShareRecord) -> None:
    """Insert a share."""
    add(session, ShareRow, record)


def remove_share(session: Session, dataset_id: str, workspace_id: str) -> None:
    """Delete a share; nothing happens if there is none."""
    session.execute(delete(ShareRow).where(ShareRow.dataset_id == dataset_id, ShareRow.workspace_id == workspace_id))


def shares(session: Session, dataset_id: str) -> list[ShareRecord]:
    """Give where a data set is shared."""
    return fetch(session, ShareRecord, ShareRow, ShareRow.dataset_id == dataset_id, order=ShareRow.workspace_id)
