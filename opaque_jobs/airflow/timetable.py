"""When a scheduled job runs: at the ticks of its approved cron expression that come after its acceptance, and at no earlier one.

Airflow's own cron timetable starts a new DAG at once for the tick before now, which would be a run for a time at which nobody had
approved anything, out of the lease that members signed. A backfill names the times that it is for, and gets them.
"""

from datetime import UTC, datetime
from typing import Any, Self

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable
from pendulum import instance

from opaque_jobs.domain.inputs import parse_datetime

__all__ = ["ApprovedCron"]


class ApprovedCron(CronTriggerTimetable):
    """A cron expression in UTC that ticks from a moment on.

    Args:
        cron: Five fields.
        after: Aware time of the acceptance.
    """

    def __init__(self, cron: str, *, after: datetime) -> None:
        super().__init__(cron, timezone="UTC")
        self.after = after.astimezone(UTC)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Give the next tick, see `Timetable.next_dagrun_info`."""
        if not restriction.catchup:
            earliest = instance(max(filter(None, (restriction.earliest, self.after))))
            restriction = restriction._replace(earliest=earliest)
        return super().next_dagrun_info(last_automated_data_interval=last_automated_data_interval, restriction=restriction)

    def serialize(self) -> dict[str, Any]:
        """Give what `deserialize` needs."""
        return {"cron": self._expression, "after": self.after.isoformat()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """Give the timetable back."""
        return cls(data["cron"], after=parse_datetime(data["after"]))
