"""A real result after its organisation's key has changed: opened with the new key alone, and its receipt still verifies."""

import json
import secrets
from pathlib import Path

import pytest
from installation import Installation
from typer.testing import CliRunner

from opaque_jobs.cli.main import build_app
from opaque_jobs.cli.resealing import reseal, vouching
from opaque_jobs.crypto.key_files import open_organisation_key
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.own_seal import seal_own
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.protocol.result_files import Content

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
    folder = tmp_path_factory.mktemp("resealed")
    passphrases = {name: f"word-{secrets.token_hex(8)}" for name in ("Hospital", "Laboratory", "anna", "ben", "lea")}
    (folder / "visits.csv").write_text("id,note\n" + "".join(f"{row},x\n" for row in range(40)))
    with Installation(folder / "home", enclave_runtime, passphrases) as installation:
        installation.add_data("anna", "visits", folder / "visits.csv", rows=0)
        run = installation.queued_run(installation.approved_job(Language.SQL, CODE))
        assert installation.carry_out(run.id, said=folder / "said").wait(300) == 0
        assert installation.view(run.id).state is RunState.SUCCEEDED
        yield Ended(installation, folder, run.id)


def test_result_sealed_anew_opens_with_the_new_key_alone_and_its_receipt_still_verifies(ended):
    before, first = ended.original, ended.words["Hospital"]
    assert ended("result", "show", ended.run_id, "--as", "anna", "--passphrase-file", first)["rows"] == [{"n": 40}]
    done = ended(
        *("org", "rotate-key", "Hospital"),
        *("--passphrase-file", first, "--new-passphrase-file", ended.new),
    )
    assert (done["resealed"], done["not_resealed"]) == ([ended.run_id], [])
    for file in done["former_key_files"]:
        Path(file).unlink()
    assert ended("result", "show", ended.run_id, "--as", "ben", "--passphrase-file", ended.new)["rows"] == [{"n": 40}]
    ended("result", "log", ended.run_id, "--as", "anna", "--passphrase-file", ended.new)
    assert ended.original == before
    report = ended("receipt", "verify", ended.run_id, "--as", "lea")
    assert report["holds"]
    assert report["steps"][-2]["name"].startswith("the result's files")


def test_sealing_anew_again_leaves_what_is_done(ended):
    path = ended.installation.settings.resealed_path(ended.run_id)
    before = path.read_bytes()
    found = ended("result", "reseal", "Hospital", "--passphrase-file", ended.new)
    assert found == {"resealed": [], "sealed_before": [ended.run_id], "not_resealed": [], "not_proved": []}
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_result_sealed_anew_by_somebody_else_or_changed_does_not_open(ended):
    """The storage replaces it with what it can make: seals of its own key, also under the owner's name, and flipped bytes."""
    settings, results = (
        ended.installation.settings,
        ended.installation.services.keys.sealed_results(ended.installation.organisations["Hospital"].entry.id),
    )
    path, key = (
        settings.resealed_path(ended.run_id),
        open_organisation_key(settings.keys_dir / "Hospital.organisation.json", "another horse battery"),
    )
    own = path.read_bytes()
    document = json.loads(own)
    info = document["files"][Content.RESULT_KEY]["info"]
    forged = seal_own(bytes(32), SealingKey.generate(), info) | {"owner": key.public.key_id}
    flipped = own.replace(b'"suite":"HKDF', b'"suite":"hKDF')
    try:
        for data in (canonical_bytes({"v": 1, "files": document["files"] | {Content.RESULT_KEY: forged}}), flipped):
            path.write_bytes(data)
            ended("result", "show", ended.run_id, "--as", "anna", "--passphrase-file", ended.new, code=8)
        # Another key's seal is no seal of ours: what is left is the original, which this key does not open.
        path.unlink()
        ended("result", "show", ended.run_id, "--as", "anna", "--passphrase-file", ended.new, code=8)
        vouched = vouching(ended.installation.services, ended.installation.organisations["Hospital"].entry.id)
        assert reseal(results, [key], settings, vouched=vouched).closed == (ended.run_id,)
        assert not path.exists()
    finally:
        path.write_bytes(own)
        path.chmod(0o600)


def test_second_change_seals_anew_from_what_was_sealed_anew(ended):
    """The first key's file is gone: what it sealed opens through what the second one sealed. Each key has its own passphrase."""
    third = ended.write("word-third", "a third horse battery")
    done = ended(
        *("org", "rotate-key", "Hospital", "--again", "--passphrase-file", ended.words["Hospital"]),
        *("--new-passphrase-file", third, "--former-passphrase-file", ended.new),
    )
    assert (done["resealed"], done["not_resealed"]) == ([ended.run_id], [])
    assert ended("result", "show", ended.run_id, "--as", "anna", "--passphrase-file", third)["rows"] == [{"n": 40}]
    assert ended("receipt", "verify", ended.run_id, "--as", "lea")["holds"]


def test_result_whose_key_is_not_given_is_named_and_stays_as_it_is(ended):
    path = ended.installation.settings.resealed_path(ended.run_id)
    before, fourth = path.read_bytes(), ended.write("word-fourth", "a fourth horse battery")
    first = ended.words["Hospital"]
    done = ended("org", "rotate-key", "Hospital", "--again", "--passphrase-file", first, "--new-passphrase-file", fourth)
    assert done["not_resealed"] == [ended.run_id]
    assert path.read_bytes() == before
    ended("result", "reseal", "Hospital", "--passphrase-file", fourth, code=8)
    third = str(ended.folder / "word-third")
    assert ended("result", "reseal", "Hospital", "--passphrase-file", fourth, "--former-passphrase-file", third)["resealed"]
    assert ended("result", "show", ended.run_id, "--as", "anna", "--passphrase-file", fourth)["rows"] == [{"n": 40}]
