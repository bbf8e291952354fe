"""Unique values in data, keys, passphrases, printed output and exceptions, searched for in everything that runs leave.

After the runs come the commands that people use on what these left: log, receipts, consent, holds, new versions and new keys.
The runs are real: approved by all, keys from the brokers' own processes, the real agent in the real sandbox. The process that
carries them out logs everything that Python's logging offers.
"""

import base64
import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import Commands
from installation import Installation
from leak_search import ProcessWatch, Secrets

from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.client.keys import member_key_path, organisation_key_path
from opaque_jobs.client.results import open_log, open_real_result
from opaque_jobs.crypto.key_files import open_organisation_key, open_signing_key
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.parquet import released_keys
from opaque_jobs.crypto.service_keys import load_service_key
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.protocol.result_files import KEY_FILE, Content, open_file, seal_info
from opaque_jobs.protocol.views import RunView

pytestmark = pytest.mark.spark

NAMES = ("hospital-data", "laboratory-data")
PRINTS = """
import logging, sys
def main(spark, inputs, params):
    rows = inputs["visits"].join(inputs["findings"], "id").collect()
    print("printed", *rows)
    print("printed", *rows, file=sys.stderr, flush=True)
    print("-".join(["loose", "{mark}"]))
    logging.getLogger("author").error("logged %s", rows)
    return inputs["visits"].join(inputs["findings"], "id")
"""
RAISES = """
def main(spark, inputs, params):
    rows = inputs["visits"].join(inputs["findings"], "id").collect()
    raise ValueError("-".join(["loose", "{mark}"]), rows)
"""


def canary(name: str) -> str:
    return f"{name}-{secrets.token_hex(12)}"


@dataclass
class Ran:
    """One installation with two runs that handled every canary, and what was seen meanwhile."""

    installation: Installation
    folder: Path
    named: dict[str, bytes]
    marks: dict[str, str]
    words: dict[str, str]
    runs: dict[str, RunView] = field(default_factory=dict)
    watch: ProcessWatch | None = None

    def result(self):
        run = self.runs["prints"]
        folder = self.installation.settings.result_dir(run.id)
        key = self.installation.sealing["Hospital"]
        return open_real_result(run, folder, key, workspace_id=self.installation.workspace_id).table()

    def log(self, name):
        run = self.runs[name]
        folder = self.installation.settings.result_dir(run.id)
        return open_log(run, folder, self.installation.sealing["Hospital"], workspace_id=self.installation.workspace_id)

    def result_key(self):
        run = self.runs["prints"]
        info = seal_info(
            Content.RESULT_KEY, workspace_id=self.installation.workspace_id, job_digest=run.job_digest, run_id=run.id
        )
        sealed = (self.installation.settings.result_dir(run.id) / KEY_FILE).read_bytes()
        return open_file(sealed, self.installation.sealing["Hospital"], info)

    @property
    def secrets(self):
        return Secrets.of(self.named)


def _sources(folder: Path, values: dict[str, str]) -> dict[str, Path]:
    folder.mkdir()
    for name, column, value in (("visits", "note", values["hospital-data"]), ("findings", "word", values["laboratory-data"])):
        lines = [f"id,{column}", *(f"{row},{value}-{row}" for row in range(40))]
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return {name: folder / f"{name}.csv" for name in ("visits", "findings")}


def _keys(installation: Installation) -> dict[str, bytes]:
    """Give every private key of the installation but the simulated hardware's, which is a file by design."""
    found = {f"signing key of {name}": key.seed for name, key in installation.signers.items()}
    found |= {f"sealing key of {name}": key.seed for name, key in installation.sealing.items()}
    for root in installation.root_keys():
        version = f"{root.dataset_id}/{root.version}"
        found[f"root key of {version}"] = root.secret
        released = released_keys(root, ["id", "note", "word"])
        found[f"footer key of {version}"] = released.footer_key
        found |= {f"key of {version} {name}": key for name, key in released.column_keys.items()}
    return found


@pytest.fixture(scope="module")
def ran(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary")
    values = {name: canary(name) for name in NAMES}
    passphrases = {name: canary(f"passphrase-{name}") for name in ("Hospital", "Laboratory", "anna", "ben", "lea")}
    marks = {name: secrets.token_hex(12) for name in ("prints", "raises")}
    searched = folder / "searched"
    searched.mkdir()
    with Installation(searched / "home", enclave_runtime, passphrases) as installation:
        for (name, source), owner in zip(_sources(folder / "plain", values).items(), ("anna", "lea"), strict=True):
            installation.add_data(owner, name, source)
        named = {name: text.encode() for name, text in {**values, **passphrases}.items()} | _keys(installation)
        named |= {f"said by {name}": f"loose-{mark}".encode() for name, mark in marks.items()}
        ran = Ran(installation, searched, named, marks, passphrases)
        with ProcessWatch(ran.secrets) as ran.watch:
            for name, code in (("prints", PRINTS), ("raises", RAISES)):
                job = installation.approved_job(Language.PYTHON, code.replace("{mark}", marks[name]))
                run = installation.queued_run(job)
                assert installation.carry_out(run.id, said=searched / f"{name}.said").wait(300) == 0
                ran.runs[name] = installation.view(run.id)
        ran.named["result key"] = ran.result_key()
        yield ran


def _inspect(commands: Commands, run_id: str, evidence: Path) -> None:
    """Use every command that reads the log, receipts and evidence."""
    searched = commands.searched
    for said in (["show"], ["show", "--json"], ["verify"], ["checkpoint"]):
        commands("log", *said, "Study", "--as", "anna")
    commands("log", "prove", "Study", "3", "--as", "anna")
    commands("log", "export", "Study", "--to", str(searched / "exported.jsonl"), "--as", "anna")
    receipt, anchors = str(searched / "receipt.json"), str(searched / "anchors.json")
    commands("receipt", "export", run_id, "--to", receipt, "--as", "anna")
    commands("receipt", "trust", "Study", "--to", anchors, "--as", "lea")
    commands("receipt", "verify", receipt, "--trust", anchors)
    commands("receipt", "verify", run_id, "--as", "lea")
    commands("attest", "verify", str(evidence))


def _act(commands: Commands, job_id: str, refreshed: Path) -> None:
    """Use every command that signs something about data, consent and brokers, rightly and with a wrong passphrase."""
    anna, hospital = ("--as", "anna", "--passphrase-file", commands.file("anna")), commands.file("Hospital")
    wrong = ("--as", "anna", "--passphrase-file", commands.file("wrong"))
    commands("dataset", "encrypt", str(refreshed), "--name", "visits", "--refresh", *wrong, code=8)
    commands("dataset", "encrypt", str(refreshed), "--name", "visits", "--refresh", *anna)
    commands("broker", "hold", "--dataset", "visits", *wrong, code=8)
    commands("broker", "hold", "--dataset", "visits", *anna)
    commands("broker", "hold", "--dataset", "visits", "--lift", *anna)
    key = SigningKey.generate().public.text
    commands("broker", "believe", "Hospital", key, "--passphrase-file", hospital)
    commands("broker", "believe", "Hospital", key, "--forget", "--passphrase-file", hospital)
    commands("consent", "withdraw", job_id, *wrong, code=8)
    commands("consent", "withdraw", job_id, *anna)
    changed = ("--passphrase-file", commands.file("anna"), "--new-passphrase-file", commands.file("anna-new"))
    commands("member", "rotate-key", "anna", "--stolen", "--broker-passphrase-file", commands.file("Hospital"), *changed)
    new = commands.file("Hospital-new")
    commands("org", "rotate-key", "Hospital", "--passphrase-file", hospital, "--new-passphrase-file", new)


@pytest.fixture(scope="module")
def commanded(ran):
    """Go on after the runs, with other keys and another version, by commands; gives what watched their processes."""
    installation, outside = ran.installation, ran.folder.parent
    words = {name: canary(f"passphrase-{name}") for name in ("wrong", "anna-new", "Hospital-new")}
    version = canary("hospital-data-refreshed")
    ran.named |= {name: text.encode() for name, text in {**words, "hospital-data, refreshed": version}.items()}
    source = _sources(outside / "later", {"hospital-data": version, "laboratory-data": "none"})["visits"]
    attester = SimulatedAttester(load_service_key(installation.settings.simulated_key_path))
    said = {"measurement": installation.runtime.measurement, "report_data": b"r" * 48, "init_data": b"i" * 48}
    (outside / "evidence").write_bytes(attester.evidence(**said))
    commands = Commands(outside, ran.words | words)
    with ProcessWatch(ran.secrets, every_s=0.3) as watch:
        _inspect(commands, ran.runs["prints"].id, outside / "evidence")
        _act(commands, installation.view(ran.runs["raises"].id).job_id, source)
    fresh = open_organisation_key(organisation_key_path(installation.settings, "Hospital"), words["Hospital-new"])
    ran.named["new sealing key"] = fresh.seed
    ran.named["new signing key"] = open_signing_key(member_key_path(installation.settings, "anna"), words["anna-new"]).seed
    ran.named |= _keys(installation)
    return watch


def test_canary_run_gave_its_author_the_values(ran):
    assert ran.runs["prints"].state is RunState.SUCCEEDED
    rows = ran.result().to_pylist()
    assert len(rows) == 40
    assert Secrets.of({name: ran.named[name] for name in NAMES}).within(json.dumps(rows).encode()) == set(NAMES)


def test_canary_run_that_raised_ended_as_its_authors_error(ran):
    assert (ran.runs["raises"].state, ran.runs["raises"].reason) == (RunState.FAILED, "author-error")
    assert "ValueError" in ran.log("raises")


def test_canary_is_in_no_file_below_the_home_and_in_nothing_that_was_logged(ran):
    assert (ran.folder / "prints.said").stat().st_size > 1000
    assert ran.secrets.in_tree(ran.folder) == {}


def test_canary_is_in_no_command_line_and_no_environment(ran):
    assert ran.watch.found == set()
    inside = [command for command in ran.watch.seen if b"opaque_jobs.enclave.agent" in command]
    java = [command for command in ran.watch.seen if b"org.apache.spark" in command]
    assert inside, "the watch saw no agent"
    assert java, "the watch saw no engine"


def test_canary_is_in_no_sealed_log_of_a_real_run(ran):
    for name in ran.runs:
        assert ran.secrets.within(ran.log(name).encode()) == set()


def test_canary_data_is_stored_in_encrypted_parquet_only(ran):
    stored = [path for path in ran.folder.rglob("*.parquet") if "test-data" not in path.parent.name]
    assert len(stored) >= 2
    for path in stored:
        content = path.read_bytes()
        assert (content[:4], content[-4:]) == (b"PARE", b"PARE"), path


def test_canary_is_in_no_row_of_the_synthetic_test_data(ran):
    made = [path for path in ran.folder.rglob("*.parquet") if "test-data" in path.parent.name]
    assert len(made) == 2
    for path in made:
        rows = pq.read_table(path).to_pylist()
        assert len(rows) == 20
        assert ran.secrets.within(json.dumps(rows).encode()) == set()


def test_canary_of_commands_after_the_runs_is_nowhere(ran, commanded):
    assert ran.secrets.in_tree(ran.folder) == {}
    assert commanded.found == set()
    for word in (b"verify", b"--refresh", b"hold", b"withdraw", b"rotate-key"):
        assert any(word in command for command in commanded.seen), word


@pytest.mark.parametrize("form", ["as it is", "hex", "base64", "in an environment"])
def test_canary_search_finds_what_is_planted(ran, tmp_path, form):
    name, secret = "hospital-data", ran.named["hospital-data"]
    if form == "in an environment":
        child = subprocess.Popen(["sleep", "60"], env={"PLANTED": secret.decode(), "PATH": os.environ["PATH"]})
        try:
            watch = ProcessWatch(ran.secrets)
            watch.look([child.pid])
        finally:
            child.kill()
            child.wait()
        assert ("environ", name) in watch.found
        return
    written = {"as it is": secret, "hex": secret.hex().encode(), "base64": base64.b64encode(b"xy" + secret + b"z")}[form]
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "planted").write_bytes(b"." * 5_000_000 + written + b"." * 100)
    assert ran.secrets.in_tree(tmp_path) == {"below/planted": {name}}
