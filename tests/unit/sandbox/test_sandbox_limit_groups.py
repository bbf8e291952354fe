"""Limits: refusing what is none, and reading what the kernel says."""

import mmap
import os
import tempfile

import pytest

from opaque_jobs.enclave.sandbox import Limits, limits
from opaque_jobs.enclave.sandbox.limits import (
    Cgroups,
    LimitMode,
    children_of,
    descendants_of,
    prepare_cgroups,
    watched_memory_bytes,
)
from opaque_jobs.errors import InvalidInputError

GOOD = {"memory_bytes": 1, "pids": 1, "timeout_s": 1.0, "scratch_bytes": 1, "out_bytes": 1}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [0, -1])
def test_limit_that_is_none_is_refused(name, value):
    with pytest.raises(InvalidInputError):
        Limits(**(GOOD | {name: value}))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n", False),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 1\n", True),
    ],
)
def test_control_group_tells_whether_the_kernel_killed(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert Cgroups(mode=LimitMode.CGROUP_V2, folders=[tmp_path]).ran_out_of_memory() is expected


def test_control_groups_are_made_with_their_limits_and_removed():
    groups = prepare_cgroups(memory_bytes=64 << 20, pids=7)
    folders = list(groups.folders)
    written = {path.read_text().strip() for folder in folders for path in (folder / "pids.max",) if path.exists()}
    groups.remove()
    assert written <= {"7"}
    assert bool(folders) == (groups.mode is not LimitMode.WATCH)
    assert not any(folder.exists() for folder in folders)


def test_watch_counts_private_memory_and_unmapped_memory_files():
    before = watched_memory_bytes(os.getpid())
    held = bytearray(os.urandom(1 << 20) * 32)
    descriptor = os.memfd_create("held")
    os.write(descriptor, held)
    after = watched_memory_bytes(os.getpid())
    os.close(descriptor)
    assert after - before > 48 << 20


def test_watch_does_not_count_a_file_system_that_is_not_the_sandboxes():
    plain = watched_memory_bytes(os.getpid())
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(bytes(64 << 20))
        file.flush()
        assert watched_memory_bytes(os.getpid()) - plain < 16 << 20


def test_watch_counts_a_shared_mapping_whose_pages_were_given_back():
    before = watched_memory_bytes(os.getpid())
    with mmap.mmap(-1, 64 << 20) as held:
        held.write(bytes(64 << 20))
        held.madvise(mmap.MADV_DONTNEED)
        assert watched_memory_bytes(os.getpid()) - before > 48 << 20


def test_processes_are_found_downwards():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0)
    try:
        assert child in children_of(os.getpid())
        assert set(descendants_of(os.getpid())) >= {os.getpid(), child}
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_processes_of_one_that_is_gone_are_none():
    assert children_of(2**22 + 1) == []


def test_control_groups_of_killed_starters_are_swept_when_old_and_empty(tmp_path):
    for name in ("opaque-jobs-old", "opaque-jobs-young", "opaque-jobs-busy", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "opaque-jobs-busy" / "child").mkdir()
    for name in ("opaque-jobs-old", "opaque-jobs-busy", "other"):
        os.utime(tmp_path / name, (0, 0))
    limits._sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["opaque-jobs-busy", "opaque-jobs-young", "other"]
