"""What `up` keeps running: restarts with back-off, crash loops, small logs, and the unit that starts it at boot."""

import configparser
import os
import shutil
import subprocess

import pytest

from opaque_jobs.errors import ConfigurationError
from opaque_jobs.standalone.log_files import rotate_logs
from opaque_jobs.standalone.supervision import Component, Supervisor, read_status
from opaque_jobs.standalone.systemd_unit import systemd_unit


class World:
    """One component and its time."""

    def __init__(self, folder):
        self.now, self.runs, self.starts = 0.0, True, []
        self.status = folder / "status.json"
        component = Component(name="scheduler", ended=lambda: not self.runs, start=self.start, log_path=folder / "s.log")
        self.supervisor = Supervisor([component], status_path=self.status, clock=lambda: self.now)

    def start(self):
        self.runs = True
        self.starts.append(self.now)

    def crash(self):
        """End it, and look until it runs again."""
        self.runs = False
        while not self.runs:
            self.supervisor.look()
            self.now += 0.5


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_component_that_ends_is_started_again_later_each_time(world):
    ends = []
    for _crash in range(4):
        ends.append(world.now)
        world.crash()
    assert [start - end for start, end in zip(world.starts, ends, strict=True)] == [1, 2, 4, 8]
    assert read_status(world.status) == [{"component": "scheduler", "state": "running", "restarts": 4}]


def test_component_that_waits_for_its_restart_is_shown_so(world):
    world.runs = False
    assert world.supervisor.look() == ["scheduler ended by itself; it is started again in 1 s"]
    assert read_status(world.status)[0]["state"] == "restarting"


def test_component_that_ends_again_and_again_is_given_up_by_its_name(world):
    for _crash in range(4):
        world.crash()
    world.runs = False
    with pytest.raises(ConfigurationError, match="scheduler ended 5 times") as caught:
        world.supervisor.look()
    assert "s.log" in caught.value.hint


def test_component_that_ends_now_and_then_is_never_given_up(world):
    for _crash in range(20):
        world.crash()
        world.now += 100
    assert len(world.starts) == 20


def test_status_that_nobody_wrote_is_empty(tmp_path):
    assert read_status(tmp_path / "none.json") == []


def test_log_that_is_too_long_is_moved_aside_while_its_writer_goes_on(tmp_path):
    path = tmp_path / "a.log"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb", buffering=0) as writer:
        for number in range(5):
            writer.write(b"%d" % number * 11)
            rotate_logs(tmp_path, max_bytes=10, kept=2)
        writer.write(b"end")
    assert {each.name: each.read_bytes()[:1] for each in tmp_path.iterdir()} == {"a.log": b"e", "a.log.1": b"4", "a.log.2": b"3"}
    assert path.read_bytes() == b"end"
    assert (tmp_path / "a.log.1").stat().st_mode & 0o777 == 0o600


def test_log_that_is_short_stays(tmp_path):
    (tmp_path / "a.log").write_text("short")
    rotate_logs(tmp_path, max_bytes=10)
    assert [each.name for each in tmp_path.iterdir()] == ["a.log"]


def test_unit_keeps_odd_characters_of_paths_as_they_are(tmp_path):
    text = systemd_unit(["/bin/true", 'a "b" 50% $HOME'], {"OPAQUE_JOBS_HOME": "/srv/my home/100%"}, private=tmp_path / "up.env")
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str
    parsed.read_string(text)
    assert parsed["Service"]["ExecStart"] == '"/bin/true" "a \\"b\\" 50%% $$HOME"'
    assert parsed["Service"]["Environment"] == '"OPAQUE_JOBS_HOME=/srv/my home/100%%"'
    assert parsed["Service"]["Restart"] == "on-failure"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_unit_is_one_that_systemd_accepts(tmp_path):
    path = tmp_path / "opaque-jobs.service"
    path.write_text(systemd_unit(["/bin/true", "up"], {"OPAQUE_JOBS_HOME": "/srv/my home"}, private=tmp_path / "up.env"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
