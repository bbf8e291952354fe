"""Uploads: where they begin, what has arrived."""

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.api.use_cases.noun import UseCases
from opaque_jobs.protocol.documents import (
    UploadDocument,
)
from opaque_jobs.services import Services

__all__ = ["UploadsUseCases"]


class UploadsUseCases(UseCases):
    """See `protocol.api.Uploads`."""

    def __init__(self, services: Services, uploads: Uploads) -> None:
        super().__init__(services)
        self._uploads = uploads

    def begin(self, *, actor: Actor) -> UploadDocument:
        return self._uploads.begin(actor, now=self._services.context.now())

    def show(self, *, actor: Actor, upload_id: str) -> UploadDocument:
        return self._uploads.show(upload_id, actor=actor)

    def drop(self, *, actor: Actor, upload_id: str) -> None:
        self._uploads.drop(upload_id, actor=actor)
