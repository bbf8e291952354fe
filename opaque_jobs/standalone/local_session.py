"""A member's session where client and coordinator are one machine: the same operations, without a socket between."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opaque_jobs.api.actor import Actor, Via
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.api.use_cases import use_cases
from opaque_jobs.client.session import Session
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.protocol.operations import Operation
from opaque_jobs.protocol.views import DatasetVersionView
from opaque_jobs.services import Services

__all__ = ["local_session"]


class _LocalCalls:
    """Asks the use cases as one member, known by working on the coordinator's own files."""

    def __init__(self, services: Services, uploads: Uploads, actor: Actor) -> None:
        self._nouns = use_cases(services, uploads, version=version("opaque-jobs"))
        self._actor = actor

    def call(self, operation: Operation, arguments: dict[str, Any]) -> Any:
        return getattr(self._nouns[operation.noun], operation.name)(actor=self._actor, **arguments)


class _LocalFiles:
    def __init__(self, services: Services, uploads: Uploads, actor: Actor) -> None:
        self._services, self._uploads, self._actor = services, uploads, actor

    @contextmanager
    def run_files(self, run_id: str) -> Iterator[Path]:
        yield self._services.runs.result_folder(run_id, actor=self._actor.member_id)

    @contextmanager
    def dataset_files(self, dataset_id: str, version: DatasetVersionView) -> Iterator[Path]:
        yield self._services.datasets.version_folder(dataset_id, version.version, actor=self._actor.member_id)

    def upload(self, folder: Path) -> str:
        return self._uploads.adopt(folder, actor=self._actor, now=self._services.context.now()).id


def local_session(services: Services, member: MemberEntry) -> Session:
    """Return the session of a member who works on the coordinator's own machine.

    Args:
        services: Of this installation; whoever opened them closes them.
        member: Who asks. What they may do is decided as over the API.
    """
    actor = Actor(member_id=member.id, via=Via.LOCAL)
    uploads = Uploads(services.context.settings.storage_dir / "uploads")
    calls, files = _LocalCalls(services, uploads, actor), _LocalFiles(services, uploads, actor)
    return Session(services.context.settings, calls, files)
