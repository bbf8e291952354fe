"""Housekeeping while Airflow runs: overdue reviews expire, and runs that nobody carries on are closed.

Airflow's callbacks and listeners fire twice or never, and a run that Airflow calls failed may still be computing. So this
comparison of runs, Airflow and leases is the only closer of abandoned runs.
"""

from dataclasses import dataclass

from opaque_jobs.orchestration.logins import HOUSEKEEPING_LOGIN, ensure_logins
from opaque_jobs.orchestration.rest import AirflowRest
from opaque_jobs.services import Services
from opaque_jobs.services.views import ClosedRun

__all__ = ["Housekeeping", "TidiedUp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TidiedUp:
    """What one round changed.

    Args:
        expired: Jobs whose review's deadline has passed.
        closed: Runs that were closed.
    """

    expired: tuple[str, ...]
    closed: tuple[ClosedRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """Rounds of housekeeping for one installation.

    Args:
        services: The services.
        address: Where its Airflow answers.
    """

    services: Services
    address: str

    def once(self) -> TidiedUp:
        """Do one round.

        Raises:
            ConfigurationError: Airflow does not answer; reviews were expired all the same.
        """
        expired = tuple(self.services.reviews.expire_due())
        settings = self.services.context.settings
        ensure_logins(settings, [HOUSEKEEPING_LOGIN])
        with AirflowRest.as_login(settings, self.address, HOUSEKEEPING_LOGIN) as airflow:
            states = airflow.dag_run_states()
        return TidiedUp(expired=expired, closed=tuple(self.services.runs.reconcile(states)))
