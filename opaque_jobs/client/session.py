"""What a member's client works with: their own home, and one coordinator, asked as that member.

Trust: nothing that a coordinator answers is believed here. What counts is verified by whoever uses it, against what the home
keeps.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from opaque_jobs.client.connection import Calls, bind
from opaque_jobs.protocol import api
from opaque_jobs.protocol.operations import Page
from opaque_jobs.protocol.views import DatasetVersionView
from opaque_jobs.settings import Settings

__all__ = ["Files", "Session", "listed"]

T = TypeVar("T")


class Files(Protocol):
    """Moves files to and from a coordinator's storage."""

    def run_files(self, run_id: str) -> AbstractContextManager[Path]:
        """Hold a folder with the files that a run left; others may write to it.

        Raises:
            ConflictError: The run has left nothing.
            DeniedError: They are another organisation's.
        """

    def dataset_files(self, dataset_id: str, version: DatasetVersionView) -> AbstractContextManager[Path]:
        """Hold a folder with the encrypted files of a version of a data set of the member's own organisation.

        Raises:
            DeniedError: It is another organisation's.
        """

    def upload(self, folder: Path) -> str:
        """Bring a folder's files to the coordinator, for a data set or its test data; returns the upload's id.

        The files are the coordinator's from then on: what was in the folder may be gone from it.
        """


class Session:
    """One member at one coordinator.

    Args:
        settings: The member's own home.
        calls: Asks the coordinator as that member.
        files: Moves files, likewise.
        close: Gives back what is open.
    """

    def __init__(self, settings: Settings, calls: Calls, files: Files, *, close: Callable[[], None] = lambda: None) -> None:
        self._close = close
        self.settings = settings
        self.files = files
        self.people = bind(api.People, "people", calls)
        self.keys = bind(api.Keys, "keys", calls)
        self.workspaces = bind(api.Workspaces, "workspaces", calls)
        self.datasets = bind(api.Datasets, "datasets", calls)
        self.jobs = bind(api.Jobs, "jobs", calls)
        self.reviews = bind(api.Reviews, "reviews", calls)
        self.runs = bind(api.Runs, "runs", calls)
        self.queries = bind(api.Queries, "queries", calls)
        self.uploads = bind(api.Uploads, "uploads", calls)
        self.logs = bind(api.Logs, "logs", calls)

    def close(self) -> None:
        """Give back what is open."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, trace: TracebackType | None = None
    ) -> None:
        self.close()


def listed(part: Callable[..., Page[T]], *arguments: Any, **more: Any) -> Iterator[T]:
    """Yield the items of a list, asking for one part of it after another."""
    cursor = None
    while True:
        page = part(*arguments, **more, cursor=cursor, limit=500)
        yield from page.items
        if page.next is None:
            return
        cursor = page.next
