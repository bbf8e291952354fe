"""Uploads on their way to their place: on the same file system or on another, taken from a folder, or refused."""

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opaque_jobs.api.actor import Actor, Via
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.errors import ConfigurationError, InvalidInputError

ANNA = Actor(member_id="member-anna", via=Via.LOCAL)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path / "uploads")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "part-0.parquet").write_bytes(b"0123456789")
    return made


@pytest.fixture
def elsewhere(monkeypatch):
    """Every folder is moved between file systems."""
    rename = Path.rename

    def across(self, target):
        if self.is_dir() and not self.name.endswith(".partial"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)


def test_folder_is_taken_and_moved_whole_to_another_file_system(uploads, folder, elsewhere, tmp_path):
    upload, target = uploads.adopt(folder, actor=ANNA, now=NOW), tmp_path / "place" / "1"
    assert [(each.name, each.size_bytes) for each in upload.files] == [("part-0.parquet", 10)]
    with uploads.moved(upload.id, target, actor=ANNA):
        assert (target / "part-0.parquet").read_bytes() == b"0123456789"
    assert [each.name for each in target.parent.iterdir()] == ["1"]


def test_files_are_back_where_they_waited_if_they_are_not_taken(uploads, folder, elsewhere, tmp_path):
    upload, target = uploads.adopt(folder, actor=ANNA, now=NOW), tmp_path / "place" / "1"
    with pytest.raises(ValueError, match="no"), uploads.moved(upload.id, target, actor=ANNA):
        raise ValueError("no")
    assert not target.exists()
    assert uploads.show(upload.id, actor=ANNA).files == upload.files


def test_place_that_cannot_be_written_leaves_nothing_there(uploads, folder, elsewhere, tmp_path, monkeypatch):
    def full(_source, target):
        Path(target).mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    upload, target = uploads.adopt(folder, actor=ANNA, now=NOW), tmp_path / "place" / "1"
    with pytest.raises(ConfigurationError, match="No space left"), uploads.moved(upload.id, target, actor=ANNA):
        pass
    assert list(target.parent.iterdir()) == []
    assert uploads.show(upload.id, actor=ANNA).files == upload.files


def test_folder_with_a_name_that_no_file_may_have_is_not_taken(uploads, folder):
    (folder / "-x").write_bytes(b"")
    with pytest.raises(InvalidInputError):
        uploads.adopt(folder, actor=ANNA, now=NOW)
    assert (folder / "part-0.parquet").exists()
