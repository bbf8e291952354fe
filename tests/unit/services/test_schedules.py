from datetime import UTC, datetime

import pytest

from opaque_jobs.errors import InvalidInputError
from opaque_jobs.services.schedules import next_times, parse_schedule


@pytest.mark.parametrize(
    ("text", "cron"), [("@daily", "0 0 * * *"), ("0  6 * * mon", "0 6 * * mon"), (" 5 4 L * * ", "5 4 L * *")]
)
def test_schedule_that_airflow_can_follow_is_taken_as_plain_cron(text, cron):
    assert parse_schedule(text) == cron


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("* * * *", "five fields"),
        ("", "five fields"),
        ("@once", "five fields"),
        ("0 6 * * 1 *", "five fields"),
        ("61 * * * *", "not valid"),
        ("0 0 * * 8", "not valid"),
        ("*/0 * * * *", "not valid"),
        ("H * * * *", "not valid"),
        ("R R * * *", "not valid"),
        ("0 r(1-5) * * *", "not valid"),
        ("0 0 30 2 *", "never comes"),
    ],
)
def test_schedule_that_airflow_could_not_follow_is_refused(text, why):
    with pytest.raises(InvalidInputError, match=why):
        parse_schedule(text)


def test_next_times_come_after_the_moment_and_in_order():
    found = next_times("0 6 * * 1", after=datetime(2026, 1, 5, 6, tzinfo=UTC), count=2)
    assert found == [datetime(2026, 1, 12, 6, tzinfo=UTC), datetime(2026, 1, 19, 6, tzinfo=UTC)]
