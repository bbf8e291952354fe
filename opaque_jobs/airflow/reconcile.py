"""Housekeeping while Airflow runs: overdue reviews expire, brokers see the log of others in time, abandoned runs are closed.

Refreshes of data sets are told to Airflow, too.

Airflow's callbacks and listeners fire twice or never, and a run that Airflow calls failed may still be computing. So this
comparison of runs, Airflow and leases is the only closer of abandoned runs.
"""

from dataclasses import dataclass, field

from opaque_jobs.airflow.logins import HOUSEKEEPING_LOGIN, ensure_logins
from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.protocol.views import ClosedRun
from opaque_jobs.runner.relay import bring_logs_in_time
from opaque_jobs.services import Services

__all__ = ["Housekeeping", "TidiedUp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TidiedUp:
    """What one round changed.

    Args:
        expired: Jobs whose review's deadline has passed.
        closed: Runs that were closed.
        refreshed: (data set, version) of refreshes that Airflow was told of.
    """

    expired: tuple[str, ...]
    closed: tuple[ClosedRun, ...]
    refreshed: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """Rounds of housekeeping for one installation.

    Args:
        services: The services.
        address: Where its Airflow answers.
        told: Refreshes that Airflow has been told of: each once, for a run may take a while to be recorded.
    """

    services: Services
    address: str
    told: set[tuple[str, int]] = field(default_factory=set)

    def once(self) -> TidiedUp:
        """Do one round.

        Raises:
            ConfigurationError: Airflow does not answer; reviews were expired and logs brought all the same.
        """
        expired = tuple(self.services.reviews.expire_due())
        bring_logs_in_time(self.services.context)
        settings = self.services.context.settings
        ensure_logins(settings, [HOUSEKEEPING_LOGIN])
        with AirflowRest.as_login(settings, self.address, HOUSEKEEPING_LOGIN) as airflow:
            closed = self.services.runs.reconcile(airflow.dag_run_states())
            refreshed = [
                each for each in self.services.deployments.due_refreshes() if each not in self.told and self._tell(airflow, each)
            ]
        return TidiedUp(expired=expired, closed=tuple(closed), refreshed=tuple(refreshed))

    def _tell(self, airflow: AirflowRest, refresh: tuple[str, int]) -> bool:
        """Tell Airflow of one refresh; False while it does not know the data set, because the DAG is not there yet."""
        if not airflow.announce_refresh(refresh[0]):
            return False
        self.told.add(refresh)
        return True
