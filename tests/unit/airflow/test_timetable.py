from datetime import UTC, datetime, timedelta

import pytest
from airflow.timetables.base import DataInterval, TimeRestriction

from opaque_jobs.airflow.timetable import ApprovedCron

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
ONGOING = TimeRestriction(earliest=LONG_AGO, latest=None, catchup=False)
BACKFILL = TimeRestriction(earliest=LONG_AGO, latest=None, catchup=True)
NEW_YEAR = "0 0 1 1 *"


def first_tick(after, restriction=ONGOING, last=None, cron=NEW_YEAR):
    interval = DataInterval.exact(last) if last else None
    return ApprovedCron(cron, after=after).next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)


def test_schedule_accepted_now_has_its_first_tick_after_the_acceptance():
    now = datetime.now(UTC)
    assert first_tick(now).run_after == datetime(now.year + 1, 1, 1, tzinfo=UTC)


def test_schedule_of_a_new_revision_has_no_tick_before_its_acceptance_though_the_former_one_ran():
    now = datetime.now(UTC)
    assert first_tick(now, last=datetime(now.year - 1, 1, 1, tzinfo=UTC)).run_after > now


def test_schedule_accepted_long_ago_makes_up_for_the_newest_missed_tick_only():
    now = datetime.now(UTC)
    assert first_tick(LONG_AGO).run_after == datetime(now.year, 1, 1, tzinfo=UTC)


def test_backfill_gets_the_times_that_it_asks_for():
    assert first_tick(datetime.now(UTC), BACKFILL).run_after == LONG_AGO


@pytest.mark.parametrize("after", [LONG_AGO, datetime(2026, 5, 1, 12, 30, 15, 250, tzinfo=UTC) + timedelta(hours=1)])
def test_schedule_read_back_is_the_same(after):
    made = ApprovedCron("5 4 * * 1", after=after)
    again = ApprovedCron.deserialize(made.serialize())
    assert (again.serialize(), again.after) == (made.serialize(), after)
