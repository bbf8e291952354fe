"""A child that is started with a passphrase: nobody who lists processes can read it."""

import time
from pathlib import Path

import pytest

from opaque_jobs.settings import Settings
from opaque_jobs.standalone.child import Child

CANARY = "canary-passphrase-5521"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/x.db", sandbox="bubblewrap")


def processes_of(home: Path) -> list[Path]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(home).encode() in (entry / "environ").read_bytes():
                found.append(entry)
        except OSError:
            continue
    return found


def test_child_passphrase_is_in_no_argument_environment_or_file(settings):
    child = Child(settings, ["broker", "serve", "--org", "nobody"], log_name="child", grace_s=5)
    child.start(CANARY)
    try:
        seen = 0
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not child.ended:
            for entry in processes_of(settings.home):
                try:
                    about = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                seen += 1
                assert CANARY.encode() not in about
            time.sleep(0.05)
        assert seen
    finally:
        child.stop()
    for path in settings.home.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes()


def test_child_that_ended_by_itself_has_last_words(settings):
    child = Child(settings, ["no-such-command"], log_name="child", grace_s=5)
    child.start(CANARY)
    try:
        deadline = time.monotonic() + 60
        while not child.ended and time.monotonic() < deadline:
            time.sleep(0.05)
        assert child.ended
        assert child.last_words()
    finally:
        child.stop()


def test_child_stopped_leaves_no_process(settings):
    child = Child(settings, ["broker", "serve", "--org", "nobody"], log_name="child", grace_s=5)
    child.start(CANARY)
    child.stop()
    assert processes_of(settings.home) == []
