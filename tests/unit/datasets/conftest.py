"""A disk of its own that fills up."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a mounted file system of 2 MB; without the right to mount, the test is skipped."""
    folder = tmp_path / "small"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=2m") != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), 2)
