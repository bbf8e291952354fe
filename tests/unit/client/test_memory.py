"""What a member's client remembers: commands at once lose nothing, a crash leaves it whole, other versions are left alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from opaque_jobs.client.memory import Memory
from opaque_jobs.client.showing import Shown
from opaque_jobs.domain.review import NamedJob
from opaque_jobs.errors import ConfigurationError, TrustError
from tests.world import World

MANY = 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "lea.memory.db"


def named(number: int, who: str = "job") -> NamedJob:
    return NamedJob(workspace_id="ws-1", job_id=f"{who}-{number}", digest=f"sha256:{who}{number}")


HEAD = """
import sys
from pathlib import Path
from opaque_jobs.client.memory import Memory
from opaque_jobs.client.memory_file import MemoryFile
from opaque_jobs.domain.review import NamedJob
"""


def python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process of its own that works on a memory."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", HEAD + textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)


REMEMBERING = """
    memory, who = Memory(Path(sys.argv[1])), sys.argv[2]
    Path(sys.argv[4]).touch()
    sys.stdin.readline()  # all begin at once
    for number in range(int(sys.argv[3])):
        job = NamedJob(workspace_id="ws-1", job_id=f"{who}-{number}", digest=f"sha256:{who}{number}")
        memory.remember_consent([job], withdrawal=None)
        memory.remember_consent([job], withdrawal=f"{who} takes it back".encode())
"""


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(each.exists() for each in paths) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_memory_of_commands_at_once_loses_no_consent_and_no_withdrawal(path, tmp_path):
    people = ("one", "two", "three", "four")
    running = [python(REMEMBERING, str(path), who, str(MANY), str(tmp_path / who)) for who in people]
    wait_for(*(tmp_path / who for who in people))
    for each in running:
        each.stdin.write(b"\n")
        each.stdin.flush()
    for each in running:
        each.communicate(timeout=60)
    assert [each.returncode for each in running] == [0] * len(people)
    kept = {each.job.job_id: each.withdrawal for each in Memory(path).consents()}
    assert kept == {f"{who}-{number}": f"{who} takes it back" for who in people for number in range(MANY)}


CRASHING = """
    memory = MemoryFile(Path(sys.argv[1]))
    with memory.writing() as rows:
        rows.execute("PRAGMA cache_size = 1")  # what does not fit goes to the file before the end
        for number in range(4000):
            values = (str(number), "x" * 400)
            rows.execute("INSERT INTO consents (digest, workspace_id, job_id, name) VALUES (?, 'ws', 'job', ?)", values)
        Path(sys.argv[2]).touch()
        sys.stdin.read()
"""


def test_memory_after_a_crash_in_the_middle_is_what_it_was_before(path, tmp_path):
    memory, reached = Memory(path), tmp_path / "reached"
    memory.remember_consent([named(1)], withdrawal=b"taken back")
    before, size = memory.consents(), path.stat().st_size
    crashing = python(CRASHING, str(path), str(reached))
    wait_for(reached)
    assert path.stat().st_size > size  # half of it is in the file
    crashing.send_signal(signal.SIGKILL)
    crashing.communicate(timeout=10)
    assert memory.consents() == before
    with closing(sqlite3.connect(path)) as rows:
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    memory.remember_consent([named(2)], withdrawal=None)
    assert len(memory.consents()) == 2


@pytest.mark.parametrize("act", [Memory.consents, lambda memory: memory.remember_stolen("sha256:1")])
def test_memory_of_a_newer_version_is_refused_in_words_and_left_alone(path, act):
    Memory(path).remember_stolen("sha256:0")
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="written by a newer version") as caught:
        act(Memory(path))
    assert (caught.value.facts, bool(caught.value.hint)) == ({"version": 2}, True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("act", [Memory.consents, lambda memory: memory.remember_stolen("sha256:1")])
def test_memory_that_is_damaged_is_not_taken_for_an_empty_one(path, act):
    Memory(path).remember_consent([named(1)], withdrawal=None)
    path.write_bytes(b"{" * path.stat().st_size)
    with pytest.raises(ConfigurationError, match="damaged"):
        act(Memory(path))


def test_memory_is_private_and_made_only_when_there_is_something_to_remember(path):
    memory = Memory(path)
    assert (memory.consents(), memory.shown(), memory.log_head("ws-1"), memory.organisation()) == ((), (), None, None)
    assert not path.parent.exists()
    memory.remember_stolen("sha256:1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - nothing beside it


def test_memory_at_the_end_of_a_link_is_not_written(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Memory(path).remember_stolen("sha256:1")
    assert not elsewhere.exists()


def test_withdrawal_stays_where_something_is_signed_again(path):
    memory, spec = Memory(path), World().make_spec()
    job = NamedJob(workspace_id=spec.workspace_id, job_id=spec.job_id, digest=spec.digest)
    memory.remember_consent([job], withdrawal=b"taken back")
    memory.remember_consent([spec], withdrawal=None)
    memory.remember_consent([job], withdrawal=None)
    (kept,) = memory.consents()
    assert (kept.job, kept.name, kept.withdrawal) == (job, spec.name, "taken back")


def test_signed_list_is_believed_only_whole(path):
    memory, roster = Memory(path), World().make_roster()
    memory.remember_list(roster)
    assert memory.last_signed(roster.workspace_id) == roster
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("UPDATE signed_lists SET roster = replace(roster, 'Study', 'Other')")
    with pytest.raises(TrustError, match="not the one you signed"):
        memory.last_signed(roster.workspace_id)


def test_agreed_lists_are_kept_by_epoch_with_those_before(path):
    memory, world = Memory(path), World()
    first = world.make_roster()
    second = world.next_roster(first)
    for each in (second, first, second):
        memory.keep_list(each, world.acceptances(each))
    assert [each.roster for each in memory.agreed_lists()] == [first, second]
    assert memory.agreed_list(first.workspace_id).roster == second
    assert memory.agreed_list("ws-2") is None


def test_log_head_moves_only_from_the_one_that_was_read(path):
    """Two commands read the same head; the slower one has seen less, and does not set it back."""
    memory = Memory(path)
    assert memory.advance_log_head("ws-1", before=None, after="5 a")
    assert not memory.advance_log_head("ws-1", before=None, after="3 b")
    assert memory.advance_log_head("ws-1", before="5 a", after="9 c")
    assert not memory.advance_log_head("ws-1", before="5 a", after="7 d")
    assert memory.log_head("ws-1") == "9 c"


def test_last_display_of_each_subject_is_kept_newest_last(path):
    memory = Memory(path)
    first, second = (Shown(subject=each, name="Rates", digest=f"sha256:{each}") for each in ("job-1", "job-2"))
    again = Shown(subject="job-1", name="Rates", digest="sha256:again")
    for each in (first, second, again):
        memory.remember_shown(each)
    assert memory.shown() == (second, again)
