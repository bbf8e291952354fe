"""Schedules as an author writes them: checked when a job is drafted, before anybody signs one that Airflow could not follow."""

import re
from datetime import UTC, datetime
from typing import Final

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

from opaque_jobs.errors import InvalidInputError

__all__ = ["next_times", "parse_schedule"]

_PRESETS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}
"""Airflow's words for common schedules."""
_FIELDS: Final = 5
_FIELD: Final = re.compile(
    r"(?:[0-9*/,#L-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)+", re.IGNORECASE
)
"""Without croniter's random and hashed fields, which mean another time whenever they are read."""


def parse_schedule(text: str) -> str:
    """Give a schedule as the cron expression that members sign.

    Args:
        text: A cron expression of five fields (UTC), or one of Airflow's presets such as `@daily`.

    Raises:
        InvalidInputError: Airflow could not follow it, or it never comes.

    Source: croniter, which Airflow's own cron timetables use.
    """
    cron = _PRESETS.get(text.strip(), " ".join(text.split()))
    if len(cron.split()) != _FIELDS:
        raise InvalidInputError(
            "the schedule is no cron expression of five fields",
            hint="minute hour day-of-month month day-of-week, for example '0 6 * * 1'; or one of " + ", ".join(_PRESETS),
        )
    invalid = InvalidInputError(
        "the schedule has a field that is not valid",
        hint="minute 0-59, hour 0-23, day of month 1-31, month 1-12, day of week 0-7; for example '0 6 * * 1'",
    )
    if not all(map(_FIELD.fullmatch, cron.split())):
        raise invalid
    try:
        next_times(cron, after=datetime.now(UTC), count=1)
    except CroniterBadDateError:
        raise InvalidInputError("the schedule names a day that never comes", hint="check its day and month") from None
    except (CroniterBadCronError, ValueError, KeyError):
        raise invalid from None
    return cron


def next_times(cron: str, *, after: datetime, count: int) -> list[datetime]:
    """Give the next ticks of a valid expression, in UTC."""
    ticks = croniter(cron, after.astimezone(UTC))
    return [ticks.get_next(datetime) for _ in range(count)]
