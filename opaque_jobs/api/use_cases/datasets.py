"""Data sets over the services; their files are uploads that have arrived."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.paging import page
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.data.dataset_files import verify_files
from opaque_jobs.domain.dataset import Source, TestDataKind
from opaque_jobs.domain.ids import new_id
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import (
    DatasetView,
    ReaderView,
)
from opaque_jobs.services import Services
from opaque_jobs.services.datasets import claimed_manifest

__all__ = ["DatasetsUseCases"]


class DatasetsUseCases(UseCases):
    """See `protocol.api.Datasets`."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        super().__init__(services)
        self._uploads = uploads

    def register(
        self,
        *,
        actor: Actor,
        upload_id: str,
        envelope: bytes,
        source: Source,
        description: str = "",
        released: bytes | None = None,
    ) -> DatasetView:
        with self._arrived(actor, upload_id, envelope) as storage:
            return self._services.datasets.register(
                actor=actor.member_id,
                envelope=envelope,
                storage=storage,
                source=source,
                description=description,
                released=released,
            )

    def add_version(
        self, *, actor: Actor, dataset_id: str, upload_id: str, envelope: bytes, released: bytes | None = None
    ) -> DatasetView:
        self._services.datasets.show(dataset_id, actor=actor.member_id)
        if claimed_manifest(envelope).dataset_id != dataset_id:
            raise InvalidInputError("the signed manifest is another data set's", hint="name the data set that it is of")
        with self._arrived(actor, upload_id, envelope) as storage:
            return self._services.datasets.add_version(
                actor=actor.member_id, envelope=envelope, storage=storage, released=released
            )

    def attach_test_data(self, *, actor: Actor, dataset_id: str, kind: TestDataKind, upload_id: str | None = None) -> DatasetView:
        attach, settings = self._services.datasets.attach_test_data, self._services.context.settings
        known = self._services.datasets.show(dataset_id, actor=actor.member_id)
        if upload_id is None:
            return attach(actor=actor.member_id, dataset_id=dataset_id, kind=kind, path=None)
        folder = settings.datasets_dir / known.id / f"test-{new_id('data')}"
        with self._uploads.moved(upload_id, folder, actor=actor):
            return attach(actor=actor.member_id, dataset_id=dataset_id, kind=kind, path=folder)

    @contextlib.contextmanager
    def _arrived(self, actor: Actor, upload_id: str, envelope: bytes) -> Iterator[Path]:
        """Give the place of a version whose files have arrived as its manifest says; they are back if it is not taken.

        Trust: the manifest's signature is the services' to verify.
        """
        arrived = self._uploads.folder(upload_id, actor=actor)
        manifest = claimed_manifest(envelope)
        verify_files(manifest, arrived)
        target = self._services.context.settings.dataset_dir(manifest.dataset_id, manifest.dataset_version)
        with self._uploads.moved(upload_id, target, actor=actor):
            yield target

    def list(
        self, *, actor: Actor, workspace_id: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[DatasetView]:
        found = self._services.datasets.list(actor=actor.member_id, workspace_id=workspace_id)
        return page(found, key=lambda each: (each.name, each.id), cursor=cursor, limit=limit)

    def show(self, *, actor: Actor, dataset_id: str) -> DatasetView:
        return self._services.datasets.show(dataset_id, actor=actor.member_id)

    def share(self, *, actor: Actor, dataset_id: str, workspace_id: str, envelope: bytes) -> DatasetView:
        return self._services.datasets.share(
            actor=actor.member_id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=envelope
        )

    def unshare(self, *, actor: Actor, dataset_id: str, workspace_id: str, envelope: bytes) -> tuple[str, ...]:
        return self._services.datasets.unshare(
            actor=actor.member_id, dataset_id=dataset_id, workspace_id=workspace_id, envelope=envelope
        )

    def check_sharing(self, *, actor: Actor, dataset_id: str, workspace_id: str, shared: bool) -> None:
        self._services.datasets.check_sharing(
            actor=actor.member_id, dataset_id=dataset_id, workspace_id=workspace_id, shared=shared
        )

    def renew_signature(self, *, actor: Actor, dataset_id: str, envelope: bytes) -> DatasetView:
        self._services.datasets.show(dataset_id, actor=actor.member_id)
        found = self._services.datasets.renew_signature(actor=actor.member_id, envelope=envelope)
        if found.id != dataset_id:
            raise InvalidInputError("the signed manifest is another data set's", hint="name the data set that it is of")
        return found

    def delete(self, *, actor: Actor, dataset_id: str) -> None:
        self._services.datasets.delete(actor=actor.member_id, dataset_id=dataset_id)

    def set_released(self, *, actor: Actor, dataset_id: str, envelope: bytes) -> DatasetView:
        return self._services.datasets.set_released(actor=actor.member_id, dataset_id=dataset_id, envelope=envelope)

    def readers(self, *, actor: Actor, dataset_id: str) -> tuple[ReaderView, ...]:
        return tuple(self._services.datasets.readers(dataset_id, actor=actor.member_id))

    def record_erasure(self, *, actor: Actor, dataset_id: str, envelope: bytes) -> tuple[str, ...]:
        return self._services.datasets.record_erasure(actor=actor.member_id, dataset_id=dataset_id, envelope=envelope)

    def check_unused(self, *, actor: Actor, dataset_id: str) -> None:
        self._services.datasets.check_unused(actor=actor.member_id, dataset_id=dataset_id)
