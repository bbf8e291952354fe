"""A real result after its organisation's key has changed: it opens with the key that it is sealed to, which was kept aside."""

import json
import secrets
from pathlib import Path

import pytest
from installation import Installation
from typer.testing import CliRunner

from opaque_jobs.cli.main import build_app
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.lifecycle import RunState

pytestmark = pytest.mark.spark

CODE = "SELECT count(*) AS n FROM visits"


class Ended:
    """One installation whose author has a result."""

    def __init__(self, installation: Installation, folder: Path, run_id: str) -> None:
        self.installation, self.folder, self.run_id = installation, folder, run_id
        self.words = {name: self.write(f"word-{name}", text) for name, text in installation.passphrases.items()}
        self.new = self.write("word-new", "another horse battery")

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def __call__(self, *arguments: str, code: int = 0):
        env = {"OPAQUE_JOBS_HOME": str(self.installation.home)}
        result = CliRunner().invoke(build_app(arguments), [*arguments, "--json"], env=env)
        assert result.exit_code == code, result.output + result.stderr
        return json.loads(result.stdout) if result.stdout.strip() else result.stderr

    @property
    def original(self) -> dict[str, bytes]:
        folder = self.installation.settings.result_dir(self.run_id)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def ended(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("former")
    passphrases = {name: f"word-{secrets.token_hex(8)}" for name in ("Hospital", "Laboratory", "anna", "ben", "lea")}
    (folder / "visits.csv").write_text("id,note\n" + "".join(f"{row},x\n" for row in range(40)))
    with Installation(folder / "home", enclave_runtime, passphrases) as installation:
        installation.add_data("anna", "visits", folder / "visits.csv", rows=0)
        run = installation.queued_run(installation.approved_job(Language.SQL, CODE))
        assert installation.carry_out(run.id, said=folder / "said").wait(300) == 0
        assert installation.view(run.id).state is RunState.SUCCEEDED
        yield Ended(installation, folder, run.id)


def show(ended, word, code=0):
    return ended("result", "show", ended.run_id, "--as", "anna", "--passphrase-file", word, code=code)


def test_result_opens_with_the_key_that_it_is_sealed_to_after_two_changes(ended):
    """Each key has its own passphrase; that of the one key that opens it is asked for, and nothing in storage changes."""
    before, first = ended.original, ended.words["Hospital"]
    assert show(ended, first)["rows"] == [{"n": 40}]
    for again, word in ((), ended.new), (("--again",), ended.write("word-third", "a third horse battery")):
        ended("org", "rotate-key", "Hospital", *again, "--passphrase-file", first, "--new-passphrase-file", word)
        assert show(ended, first)["rows"] == [{"n": 40}]
        ended("result", "log", ended.run_id, "--as", "anna", "--passphrase-file", first)
        assert "passphrase" in show(ended, word, code=8)
    assert ended.original == before
    assert ended("receipt", "verify", ended.run_id, "--as", "lea")["holds"]


def test_result_whose_key_file_is_gone_does_not_open(ended):
    (first, *_) = sorted(
        ended.installation.settings.keys_dir.glob("Hospital.organisation.former-*.json"), key=lambda p: p.stat().st_mtime
    )
    kept = first.read_bytes()
    first.unlink()
    try:
        assert "not sealed to this organisation" in show(ended, str(ended.folder / "word-third"), code=8)
    finally:
        first.write_bytes(kept)
        first.chmod(0o600)
