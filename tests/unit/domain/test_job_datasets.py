"""Which data sets one job may name together."""

import pytest

from opaque_jobs.errors import InvalidInputError
from tests.world import World


@pytest.fixture(scope="module")
def world():
    return World()


def test_job_naming_one_version_twice_is_refused(world):
    use = world.hospital.use
    with pytest.raises(InvalidInputError, match="same version of a data set twice"):
        world.make_spec(datasets=(use(alias="left_side", columns=("id",)), use(alias="right_side", columns=("value",))))


def test_job_naming_two_versions_of_a_dataset_is_accepted(world):
    old, new = world.hospital.use(alias="before"), world.hospital.use(alias="after", dataset_version=2)
    assert world.make_spec(datasets=(old, new)).aliases == ("before", "after")


def test_job_naming_one_alias_in_two_cases_is_refused(world):
    with pytest.raises(InvalidInputError, match="under a name of its own"):
        world.make_spec(datasets=(world.hospital.use(alias="data"), world.laboratory.use(alias="DATA")))
