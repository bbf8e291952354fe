"""Use cases: the only writers of the store.

`open_services(Settings.load())` gives everything but execution (`services.execution`, which brings the enclave along).
Services take signed envelopes, verify them and never see a private key. An `actor` is a member id that the caller authenticated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from opaque_jobs.enclave.runtime import Runtime, find_runtime
from opaque_jobs.errors import ConfigurationError
from opaque_jobs.protocol.drafts import DEFAULT_LIMITS, DEFAULT_OUTPUT_POLICY, SINGLE_RUN, DraftDataset, JobDraft
from opaque_jobs.services.context import Context, utc_now
from opaque_jobs.services.datasets import Datasets
from opaque_jobs.services.deployments import Deployments
from opaque_jobs.services.jobs import Jobs
from opaque_jobs.services.key_changes import KeyChanges
from opaque_jobs.services.log import Logs
from opaque_jobs.services.pinned_queries import PinnedQueries
from opaque_jobs.services.reviews import Reviews
from opaque_jobs.services.runs import Runs
from opaque_jobs.services.workspaces import Workspaces
from opaque_jobs.settings import Settings
from opaque_jobs.store.gate_reader import GateReader
from opaque_jobs.store.session import open_store

__all__ = [
    "DEFAULT_LIMITS",
    "DEFAULT_OUTPUT_POLICY",
    "SINGLE_RUN",
    "DraftDataset",
    "JobDraft",
    "Services",
    "bring_up_to_date",
    "gate_reader",
    "open_services",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All services of one installation."""

    context: Context
    workspaces: Workspaces
    keys: KeyChanges
    datasets: Datasets
    queries: PinnedQueries
    jobs: Jobs
    reviews: Reviews
    runs: Runs
    deployments: Deployments
    logs: Logs

    def close(self) -> None:
        """Give back database connections."""
        self.context.store.close()


def open_services(
    settings: Settings,
    *,
    migrate: bool = False,
    now: Callable[[], datetime] = utc_now,
    runtime: Callable[[], Runtime] | None = None,
) -> Services:
    """Open the services of an installation.

    Args:
        settings: The installation.
        migrate: Make or update the database's tables first (command line: yes; Airflow's tasks: no).
        now: The clock.
        runtime: Gives the enclave's runtime; None takes the one built in this home.

    Raises:
        ConfigurationError: The database cannot be reached, or its tables are of another version.
    """
    settings.prepare()
    if migrate:
        bring_up_to_date(settings.database_url)
    store = open_store(settings.database_url)
    store.check_version()
    context = Context(settings=settings, store=store, now=now, runtime=runtime or (lambda: _built_runtime(settings)))
    return Services(
        context=context,
        workspaces=Workspaces(context),
        keys=KeyChanges(context),
        datasets=Datasets(context),
        queries=PinnedQueries(context),
        jobs=Jobs(context),
        reviews=Reviews(context),
        runs=Runs(context),
        deployments=Deployments(context),
        logs=Logs(context),
    )


def gate_reader(settings: Settings) -> GateReader:
    """Give the asynchronous gate reader for Airflow's triggerer: ids in, words out, one query for all."""
    return GateReader(settings.database_url)


def _built_runtime(settings: Settings) -> Runtime:
    runtime = find_runtime(settings)
    if runtime is None:
        raise ConfigurationError("the enclave's runtime is not built", hint="run 'opaque-jobs runtime build'")
    return runtime


def bring_up_to_date(database_url: str) -> None:
    """Make or update the tables.

    Raises:
        ConfigurationError: The database cannot be reached, or is newer than this program.
    """
    # Alembic takes a while to load and is needed once.
    from opaque_jobs.store.migrate import migrate as migrate_store  # noqa: PLC0415

    migrate_store(database_url)
