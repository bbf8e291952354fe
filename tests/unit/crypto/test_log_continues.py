"""Whether one state of a log continues another, as agent and receipts ask."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.checkpoints import log_origin
from opaque_jobs.crypto.log_proof import continues
from opaque_jobs.domain.log import EntryKind
from tests.world import World


@pytest.fixture
def log():
    keeper = World().log
    for number in range(11):
        keeper.append(EntryKind.SUBMISSION, f"job-{number}")
    return keeper


def path(log, first, second):
    return tuple(each.hex() for each in log.consistency(first, second))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 11), (1, 11), (7, 11), (8, 9), (11, 11)])
def test_later_state_of_a_log_continues_the_earlier_one(log, first, second):
    assert continues(log.checkpoint(first), log.checkpoint(second), path(log, first, second))


def test_state_of_another_log_with_the_same_entries_continues_none(log):
    other = replace(log.checkpoint(11), origin=log_origin("ws-2"))
    assert not continues(log.checkpoint(7), other, path(log, 7, 11))


def test_earlier_state_continues_no_later_one(log):
    assert not continues(log.checkpoint(11), log.checkpoint(7), path(log, 7, 11))


@pytest.mark.parametrize("false", [(), ("00",), ("zz" * 32,), ("ab" * 32,) * 4])
def test_state_without_a_proof_that_holds_continues_none(log, false):
    assert not continues(log.checkpoint(7), log.checkpoint(11), false)
