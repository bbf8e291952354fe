"""Shares on the command line: made, given out, and an organisation's lost key files written again."""

import stat

import pytest

from opaque_jobs.broker.config import key_path
from opaque_jobs.crypto.key_files import open_broker_keys, open_organisation_key

from .conftest import PASSPHRASE, write_private

NEW = "another horse battery"


@pytest.fixture
def words(tmp_path):
    return [str(write_private(tmp_path / f"word-{number}", f"word of officer {number}")) for number in (1, 2, 3)]


def given(files):
    return [part for file in files for part in ("--share-passphrase-file", file)]


@pytest.fixture
def hospital(empty, tmp_path, words):
    """An organisation with shares of its keys, 2 of 3."""
    empty.id = empty.json("org", "create", "Hospital")["id"]
    arguments = ("org", "shares", "make", "Hospital", "--threshold", "2", "--shares", "3", "--to", str(tmp_path / "shares"))
    empty.files = empty.json(*arguments, *given(words))["files"]
    return empty


def key_files(line):
    return [line.settings.keys_dir / "Hospital.organisation.json", key_path(line.settings.broker_dir(line.id))]


def test_lost_key_files_are_written_again_from_any_two_shares(hospital, tmp_path, words):
    before = [open_organisation_key(key_files(hospital)[0], PASSPHRASE), open_broker_keys(key_files(hospital)[1], PASSPHRASE)]
    for path in key_files(hospital):
        path.unlink()
    new = str(write_private(tmp_path / "new", NEW))
    hospital.json(
        *("org", "shares", "recover", hospital.files[2], hospital.files[0]), *given([words[2], words[0]]),
        *("--new-passphrase-file", new),
    )  # fmt: skip
    after = [open_organisation_key(key_files(hospital)[0], NEW), open_broker_keys(key_files(hospital)[1], NEW)]
    assert after == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in key_files(hospital)} == {0o600}


def test_shares_are_private_files_and_one_alone_gives_nothing(hospital, words):
    from pathlib import Path

    assert [stat.S_IMODE(Path(file).stat().st_mode) for file in hospital.files] == [0o600] * 3
    key_files(hospital)[0].unlink()
    assert "too few" in hospital.fails(5, "org", "shares", "recover", hospital.files[1], *given(words[1:2]))
    assert not key_files(hospital)[0].exists()


def test_key_files_that_are_there_are_never_overwritten(hospital, words):
    before = [path.read_bytes() for path in key_files(hospital)]
    hospital.fails(7, "org", "shares", "recover", *hospital.files[:2], *given(words[:2]))
    assert [path.read_bytes() for path in key_files(hospital)] == before


def test_wrong_passphrase_of_an_officer_writes_nothing(hospital, words):
    key_files(hospital)[0].unlink()
    hospital.fails(8, "org", "shares", "recover", *hospital.files[:2], *given([words[0], words[2]]))
    assert not key_files(hospital)[0].exists()


def test_shares_that_cannot_all_be_written_leave_none(hospital, tmp_path, words):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "Hospital.share-2-of-3.json").write_text("in the way")
    arguments = ("org", "shares", "make", "Hospital", "--threshold", "2", "--shares", "3", "--to", str(folder))
    hospital.fails(7, *arguments, *given(words))
    assert [path.name for path in folder.iterdir()] == ["Hospital.share-2-of-3.json"]


def test_key_of_before_comes_back_where_former_ones_are_kept(hospital, tmp_path, words):
    new = str(write_private(tmp_path / "new", NEW))
    hospital.json("org", "rotate-key", "Hospital", "--new-passphrase-file", new)
    (aside,) = hospital.settings.keys_dir.glob("Hospital.organisation.former-*.json")
    aside.unlink()
    hospital.json("org", "shares", "recover", *hospital.files[:2], *given(words[:2]), "--new-passphrase-file", new)
    open_organisation_key(aside, NEW)
