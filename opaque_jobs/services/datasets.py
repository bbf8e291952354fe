"""Data sets: signed versions, where they are shared, and what stands in for them in tests."""

from pathlib import Path

from opaque_jobs.domain.dataset import Source, TestDataKind
from opaque_jobs.services.context import Context
from opaque_jobs.services.views import DatasetView

__all__ = ["Datasets"]


class Datasets:
    """Use cases about data sets. The owner is the organisation: any of its members may act for it, nobody else."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def register(self, *, actor: str, envelope: bytes, storage: Path, source: Source, description: str) -> DatasetView:
        """Register version 1 of a data set by its signed manifest.

        Args:
            actor: A member of the owner.
            envelope: `consent.sign_manifest` by a registered member of the owner.
            storage: Folder with the encrypted parts.
            source: Where the data came from.
            description: Up to 150 characters.

        Raises:
            DeniedError: The actor is not of the owner.
            TrustError: The manifest's signature does not hold.
            InvalidInputError: A part is missing or has another size.
            ConflictError: The id is taken, or the owner has one of this name.
        """
        raise NotImplementedError

    def add_version(self, *, actor: str, envelope: bytes, storage: Path) -> DatasetView:
        """Register the next version (a refresh). Versions are immutable.

        Raises:
            ConflictError: It is not the next version.
        """
        raise NotImplementedError

    def attach_test_data(self, *, actor: str, dataset_id: str, kind: TestDataKind, path: Path | None) -> DatasetView:
        """Attach the one test data set: a folder of plaintext Parquet (None for `TestDataKind.NONE`)."""
        raise NotImplementedError

    def share(self, *, actor: str, dataset_id: str, workspace_id: str) -> DatasetView:
        """Share into a workspace of the actor.

        Raises:
            DeniedError: The actor is not of the owner, or not a member of the workspace.
            TrustError: The manifest is not signed by a member of the workspace's roster: brokers would refuse it.
        """
        raise NotImplementedError

    def unshare(self, *, actor: str, dataset_id: str, workspace_id: str) -> tuple[str, ...]:
        """Take back: new, running and waiting jobs stop at once.

        Returns:
            Ids of the runs that were closed by it.
        """
        raise NotImplementedError

    def delete(self, *, actor: str, dataset_id: str) -> None:
        """Forget a data set; only when it is shared nowhere. Files are the caller's to remove.

        Raises:
            ConflictError: It is still shared, or a job has used it.
        """
        raise NotImplementedError

    def list(self, *, actor: str, workspace_id: str | None = None) -> list[DatasetView]:
        """Give the actor's organisation's data sets, or those shared into a workspace of the actor."""
        raise NotImplementedError

    def show(self, dataset_id: str, *, actor: str) -> DatasetView:
        """Give one, to a member of the owner or of a workspace that it is shared into.

        Raises:
            NotFoundError: None, or the actor may not know of it.
        """
        raise NotImplementedError
