"""Use cases: the only writers of the store.

`open_services(Settings.load())` gives everything but execution (`services.execution`, which brings the enclave along).
Services take signed envelopes and verify them; they never see a private key. An `actor` is a member id that the caller authenticated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from opaque_jobs.services.context import Context, utc_now
from opaque_jobs.services.datasets import Datasets
from opaque_jobs.services.drafts import DEFAULT_LIMITS, DEFAULT_OUTPUT_POLICY, SINGLE_RUN, DraftDataset, JobDraft
from opaque_jobs.services.jobs import Jobs
from opaque_jobs.services.reviews import Reviews
from opaque_jobs.services.runs import Runs
from opaque_jobs.services.workspaces import Workspaces
from opaque_jobs.settings import Settings

__all__ = [
    "DEFAULT_LIMITS",
    "DEFAULT_OUTPUT_POLICY",
    "SINGLE_RUN",
    "DraftDataset",
    "JobDraft",
    "Services",
    "open_services",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All services of one installation."""

    context: Context
    workspaces: Workspaces
    datasets: Datasets
    jobs: Jobs
    reviews: Reviews
    runs: Runs

    def close(self) -> None:
        """Give back database connections."""
        raise NotImplementedError


def open_services(
    settings: Settings,
    *,
    migrate: bool = False,
    now: Callable[[], datetime] = utc_now,
    measurement: Callable[[], str] | None = None,
) -> Services:
    """Open the services of an installation.

    Args:
        settings: The installation.
        migrate: Make or update the database's tables first (command line: yes; Airflow's tasks: no).
        now: The clock.
        measurement: Gives the runtime's digest; None takes the runtime built in this home.

    Raises:
        ConfigurationError: The database cannot be reached, or its tables are of another version.
    """
    raise NotImplementedError
