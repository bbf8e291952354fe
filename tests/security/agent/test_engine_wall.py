"""The engine's own wall: plans that no gate judged do nothing but compute on the job's data sets."""

import shutil
from pathlib import Path

import pytest

from tests.support.enclave_probe import run_probe

pytestmark = pytest.mark.spark

REFUSED = Path(__file__).with_name("wall_refused.sql")


@pytest.fixture(scope="module")
def wall(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wall")
    data = folder / "data"
    data.mkdir()
    shutil.copy(REFUSED, data)
    report = run_probe(enclave_runtime, REFUSED.with_name("wall_probe.py"), data=data, out=folder / "out")
    return report, folder / "out"


def test_wall_plan_beyond_the_list_is_refused_whatever_way_it_came(wall):
    report, _ = wall
    assert {name: outcome for name, outcome in report["refused"].items() if outcome[0] == "done"} == {}


def test_wall_refused_plans_leave_nothing_in_the_output_folder(wall):
    _, out = wall
    assert {path.name for path in out.iterdir()} == {"report.json"}
    assert not any(
        b"canary-wall" in path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "report.json"
    )


def test_wall_agent_writes_its_result(wall):
    assert wall[0]["allowed"] == {"agent's write": ["done", ""]}
