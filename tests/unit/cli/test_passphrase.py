from pathlib import Path

import pytest

from opaque_jobs.cli.passphrase import PASSPHRASE_FILE, ask_passphrase, read_passphrase
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError


def private(path, data: bytes):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_passphrase_file_gives_its_first_line_only(tmp_path):
    assert read_passphrase(private(tmp_path / "p", "wörd one two\r\nnot this\n".encode())) == "wörd one two"


def test_passphrase_file_readable_by_others_is_refused(tmp_path):
    file = private(tmp_path / "p", b"correct horse")
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match=str(file)):
        read_passphrase(file)


@pytest.mark.parametrize("data", [b"", b"\nsecond", b"\xff\xfe", b"x" * 5000])
def test_passphrase_file_without_a_passphrase_is_refused(tmp_path, data):
    with pytest.raises(InvalidInputError, match=str(tmp_path / "p")):
        read_passphrase(private(tmp_path / "p", data))


def test_passphrase_file_missing_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=f"{tmp_path / 'none'} cannot be read: No such file"):
        read_passphrase(tmp_path / "none")


def test_passphrase_given_in_place_of_a_file_is_not_repeated():
    with pytest.raises(NotFoundError) as caught:
        read_passphrase(Path("correct horse"))
    assert "horse" not in f"{caught.value} {caught.value.hint} {caught.value.facts}"


def test_passphrase_from_the_file_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE_FILE, str(private(tmp_path / "p", b"correct horse\n")))
    assert ask_passphrase("alice") == "correct horse"


def test_passphrase_option_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE_FILE, str(private(tmp_path / "p", b"one\n")))
    assert ask_passphrase("alice", file=private(tmp_path / "q", b"two\n")) == "two"


def test_passphrase_without_file_or_terminal_says_what_to_give(monkeypatch):
    monkeypatch.delenv(PASSPHRASE_FILE, raising=False)
    with pytest.raises(ConfigurationError) as caught:
        ask_passphrase("alice")
    assert "--passphrase-file" in caught.value.hint
