"""Rerun terms: a lease that only ever ends."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.rerun_terms import RerunTerms, lease_refusals
from opaque_jobs.errors import InvalidInputError

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 1000).map(lambda hours: BEGIN + timedelta(hours=hours))


def make_terms(**over):
    given_ = {
        "max_runs": 3,
        "not_before": None,
        "not_after": (BEGIN + timedelta(hours=500)).isoformat(),
        "min_interval_s": 0,
        "schedule": None,
        "variable_inputs": (),
    }
    return RerunTerms(**(given_ | over))


@given(st.integers(1, 5), st.lists(MOMENTS, max_size=8), MOMENTS)
def test_lease_grants_at_most_the_approved_number_of_runs(max_runs, releases, now):
    reasons = lease_refusals(make_terms(max_runs=max_runs), now=now, releases=releases)
    assert ("lease-used-up" in reasons) is (len(releases) >= max_runs)


@given(MOMENTS)
def test_lease_is_refused_outside_its_days(now):
    terms = make_terms(not_before=(BEGIN + timedelta(hours=100)).isoformat())
    reasons = lease_refusals(terms, now=now, releases=[])
    hours = (now - BEGIN) / timedelta(hours=1)
    assert ("lease-not-begun" in reasons) is (hours < 100)
    assert ("lease-ended" in reasons) is (hours > 500)


@given(st.lists(MOMENTS, min_size=1, max_size=2), st.integers(0, 10**6))
def test_interval_counts_from_the_latest_release_whatever_the_order(releases, after_s):
    terms = make_terms(min_interval_s=3600)
    now = max(releases) + timedelta(seconds=after_s)
    for order in (releases, releases[::-1]):
        assert ("lease-interval" in lease_refusals(terms, now=now, releases=order)) is (after_s < 3600)


@given(st.lists(MOMENTS, max_size=6), MOMENTS)
def test_refused_lease_stays_refused_after_one_more_release(releases, now):
    before = "lease-used-up" in lease_refusals(make_terms(), now=now, releases=releases)
    after = "lease-used-up" in lease_refusals(make_terms(), now=now, releases=[*releases, now])
    assert after or not before


@pytest.mark.parametrize(
    "over",
    [
        {"max_runs": 0},
        {"min_interval_s": -1},
        {"not_after": None},
        {"not_after": "tomorrow"},
        {"not_before": "2027-01-01T00:00:00+00:00"},
        {"max_runs": 1, "schedule": "@daily"},
    ],
)
def test_terms_that_contradict_themselves_are_refused(over):
    with pytest.raises(InvalidInputError):
        make_terms(**over)
