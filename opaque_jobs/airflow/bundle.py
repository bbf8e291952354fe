"""The DAG bundle: one small file a job under review or accepted, written from the product's database.

Airflow keeps the bundle version with each run, so clearing an old run executes the revision that it ran before. That is a
convenience: what may run is checked by digest in the operator, at each broker and in the enclave.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.retirement import Retirement
from opaque_jobs.airflow.stubs import Journal, Stub, deployable_stubs, sync_folder
from opaque_jobs.store.runs import open_runs

__all__ = ["OpaqueJobsBundle"]


class OpaqueJobsBundle(BaseDagBundle):
    """DAG bundle of one installation. It takes only what every bundle takes.

    The bundle asks its database each time that Airflow looks whether a refresh is due (`bundle_refresh_check_interval`), and
    is due at once when a job changed. So a new job's DAG appears within a second or two, without a request to Airflow.
    """

    supports_versioning = True

    def __init__(self, **kwargs: Any) -> None:
        self._regular_interval_s = 300
        super().__init__(**kwargs)
        self._journal_path = self.base_dir / "journal.jsonl"
        self._seen: tuple[Stub, ...] | None = None
        self._retirement = Retirement()

    @property
    def path(self) -> Path:
        """Folder of the DAG files: of the version if one was asked for, else of the newest."""
        return self.versions_dir / self.version if self.version else self.base_dir / "current"

    @property
    def refresh_interval(self) -> int:
        """Seconds between refreshes: none when the database holds another set of jobs than the files."""
        if self._seen is not None and self._wanted(self._seen) != self._seen:
            return 0
        return self._regular_interval_s

    @refresh_interval.setter
    def refresh_interval(self, seconds: int) -> None:
        self._regular_interval_s = seconds

    def initialize(self) -> None:
        """Write the files of the version, or the newest ones.

        Raises:
            NotFoundError: The version is not known on this machine.
        """
        if not self.version:
            self.refresh()
        elif not self.path.exists():
            journal = Journal.read(self._journal_path, version=self.version)
            with self.lock():
                if not self.path.exists():
                    unfinished = self.versions_dir / f".{self.version}"
                    sync_folder(unfinished, journal.stubs.values())
                    unfinished.rename(self.path)
        super().initialize()

    def refresh(self) -> None:
        """Bring the newest files in line with the database."""
        with self.lock():
            self.base_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal = Journal.read(self._journal_path)
            stubs = self._wanted(journal.stubs.values())
            journal.advance(stubs)
            sync_folder(self.base_dir / "current", stubs)
        self._seen = stubs

    def get_current_version(self) -> BundleVersion:
        """Give the version asked for, or the newest."""
        return BundleVersion(version=self.version or Journal.read(self._journal_path).version)

    def _wanted(self, present: Iterable[Stub]) -> tuple[Stub, ...]:
        stubs = deployable_stubs(services().deployments.deployable())
        with services().context.store.read() as session:
            busy = {run.job_id for run in open_runs(session)}
        retiring = self._retirement.kept(present, deployable={stub.job_id for stub in stubs}, with_open_runs=busy)
        return tuple(sorted((*stubs, *retiring), key=lambda stub: stub.job_id))
