"""What people get wrong: each ends with the exit code of its family, says what, where and how to mend it, and changes nothing."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from home_contents import contents
from typer.testing import CliRunner

from opaque_jobs.cli.main import build_app
from opaque_jobs.client.keys import member_key_path
from opaque_jobs.client.organisation import members_here, pin_organisation, pinned_organisation
from opaque_jobs.enclave.runtime.java import JAVA

SECRET = "cell-5b1e77"
SQL = "SELECT id, age FROM visits"


@pytest.fixture(scope="session")
def app():
    return build_app()


@pytest.fixture
def files(tmp_path):
    """Files to give to commands, by name."""
    texts = {
        "good.csv": "id,age,site\n1,30,north\n2,41,south\n",
        "fields.csv": f"id,age\n1,30\n2,{SECRET},7\n",
        "quote.csv": f'id,age\n1,"{SECRET}\n2,41\n',
        "empty.csv": "",
        "semicolons.csv": f"id;age\n1;{SECRET}\n",
        "fewer.csv": f"id,age\n1,2\n2,{len(SECRET)}\n",
        "twice.csv": "id,Id\n1,2\n",
        "file.docx": "id,age\n1,2\n",
        "good.sql": SQL,
        "column.sql": SQL,
        "broken.py": f"def main(spark, inputs, params):\n    return '{SECRET}' (\n",
        "broken.json": '{"min_count": ',
        "range.json": f'{{"min_count": -5, "note": "{SECRET}"}}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.csv").write_bytes(b"id,age\n1,\xe9\xe8\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + SECRET.encode() * 20)
    return tmp_path


@pytest.fixture(scope="session")
def draft(installation, app, passphrase_file, tmp_path_factory):
    """A good draft with one input of 0 to 100."""
    code = tmp_path_factory.mktemp("draft") / "good.sql"
    code.write_text(SQL)
    arguments = ["job", "create", "Study", "--name", "Good", "--sql", str(code), "--dataset", "visits", "--tee", "simulated"]
    arguments += ["--declare", "floor:integer=5", "--constrain", "floor:min=0 max=100", "--vary", "floor", "--as", "anna"]
    made = CliRunner().invoke(app, [*arguments, "--home", str(installation.home)])
    assert made.exit_code == 0, made.output


@pytest.fixture
def passphrases(passphrase_file, wrong_file):
    return {"passphrase": passphrase_file, "wrong": wrong_file}


def refused(result, code, *words):
    """Check the end of a command: its exit code, what it says, and what it does not say."""
    said = result.stderr if hasattr(result, "exit_code") else result.stderr.decode()
    found = result.exit_code if hasattr(result, "exit_code") else result.returncode
    flat = " ".join(said.split())
    assert found == code, flat
    for word in words:
        assert word in flat
    assert "hint:" in flat
    assert "Traceback" not in flat
    assert "unexpected" not in flat
    assert SECRET not in flat


ENCRYPT = "dataset encrypt {file} --name fresh --as anna --passphrase-file {passphrase}"
OVERLAP = "--dataset visits --dataset findings --template overlap-count"
CREATE = "job create Study --name Bad --tee simulated --as anna"
TABLE = {
    "csv-with-a-field-too-many": (ENCRYPT, "fields.csv", 5, ["line 3", "3 fields instead of 2"]),
    "csv-with-an-open-quote": (ENCRYPT, "quote.csv", 5, ["quote is never closed"]),
    "csv-that-is-not-utf8": (ENCRYPT, "latin.csv", 5, ["not UTF-8, line 2, column 2"]),
    "csv-that-is-empty": (ENCRYPT, "empty.csv", 5, ["the file is empty"]),
    "csv-with-a-name-twice": (ENCRYPT, "twice.csv", 5, ["same name"]),
    "file-of-another-kind": (ENCRYPT, "file.docx", 5, ["neither CSV nor Parquet"]),
    "file-that-is-not-there": (ENCRYPT, "nothing.csv", 4, ["no such file"]),
    "parquet-that-is-cut": (ENCRYPT, "cut.parquet", 5, ["damaged"]),
    "value-of-a-wrong-type": (ENCRYPT + " --type site=integer", "good.csv", 5, ["column 'site', data row 1"]),
    "type-that-is-unknown": (ENCRYPT + " --type age=number", "good.csv", 5, ["column 'age'", "types: text"]),
    "type-of-an-unknown-column": (ENCRYPT + " --type nothing=integer", "good.csv", 5, ["'nothing'", "columns: id, age, site"]),
    "csv-with-another-delimiter": (ENCRYPT, "semicolons.csv", 5, ["one column, with a semicolon", "--delimiter"]),
    "csv-with-a-wrong-delimiter": (ENCRYPT + " --delimiter |", "good.csv", 5, ["one column, with a comma", "--delimiter"]),
    "delimiter-of-two-characters": (ENCRYPT + " --delimiter ab", "good.csv", 5, ["not one character"]),
    "release-of-an-unknown-column": (ENCRYPT + " --column nothing", "good.csv", 5, ["does not have"]),
    "condition-on-an-unknown-column": (
        ENCRYPT + " --where nothing=1", "good.csv", 5, ["row rule", "'nothing'", "does not have", "columns: id, age, site"],
    ),
    "condition-of-another-type": (ENCRYPT + " --where age=old", "good.csv", 5, ["'age'", "int64"]),
    "condition-with-a-wrong-operator": (ENCRYPT + " --where age==>3", "good.csv", 5, ["not well formed", "= != < <= > >="]),
    "condition-without-comparison": (ENCRYPT + " --where age", "good.csv", 5, ["COLUMN >= VALUE"]),
    "name-that-is-taken": (ENCRYPT.replace("fresh", "visits"), "good.csv", 7, ["'visits' already", "--refresh"]),
    "name-that-is-no-name": (ENCRYPT.replace("fresh", "1/2"), "good.csv", 5, ["data set"]),
    "wrong-passphrase": (ENCRYPT.replace("{passphrase}", "{wrong}"), "good.csv", 8, ["anna.member.json: the passphrase"]),
    "python-that-does-not-parse": (
        CREATE + " --dataset visits --python {file}", "broken.py", 5, ["does not parse, line 2: '(' was never closed"],
    ),
    "job-on-an-unknown-dataset": (CREATE + " --dataset nothing --sql {file}", "good.sql", 4, ["'nothing'"]),
    "job-without-code": (CREATE + " --dataset visits", "good.sql", 5, ["code or a template"]),
    "default-out-of-range": (
        CREATE + " --dataset visits --sql {file} --declare n:integer=500 --constrain n:max=9", "good.sql", 5,
        ["'n'", "constraints"],
    ),
    "declaration-that-is-none": (CREATE + " --dataset visits --sql {file} --declare floor", "good.sql", 5, []),
    "parameters-that-are-no-json": (
        f"{CREATE} {OVERLAP} --parameters {{file}}", "broken.json", 5, ["JSON object"],
    ),
    "parameters-out-of-range": (
        f"{CREATE} {OVERLAP} --parameters {{file}}", "range.json", 5, ["overlap-count"],
    ),
    "template-that-is-unknown": (CREATE + " --dataset visits --template nothing", "good.sql", 4, ["template"]),
    "engine-setting-that-is-not-allowed": (
        CREATE + " --dataset visits --sql {file} --conf spark.jars=x.jar", "good.sql", 5, ["'spark.jars'", "allowed: spark.sql"],
    ),
    "job-on-an-unknown-column": (
        CREATE + " --dataset visits:id,nothing --sql {file}", "good.sql", 5, ["'visits' has no column 'nothing'"],
    ),
    "value-that-is-no-number": ("job test Good --input floor=many --as anna", "good.sql", 5, ["floor"]),
    "value-of-an-unknown-input": ("job test Good --input roof=1 --as anna", "good.sql", 5, ["roof"]),
    "value-out-of-range-of-a-run": ("run start Good --input floor=500 --as anna", "good.sql", 5, ["'floor'", "constraints"]),
    "test-data-without-the-columns": (
        "dataset test-data visits --kind synthetic --from {file} --as anna", "fewer.csv", 5, ["'visits'", "no column 'site'"],
    ),
    "run-without-airflow": ("run start Good --as anna", "good.sql", 3, ["does not run", "opaque-jobs up"]),
    "member-that-is-unknown": ("dataset list --as nobody", "good.sql", 4, ["no such member: 'nobody'", "member list"]),
    "member-that-is-not-named": ("dataset list", "good.sql", 5, ["--as MEMBER"]),
}  # fmt: skip


@pytest.mark.usefixtures("untouched", "draft")
@pytest.mark.parametrize("case", TABLE)
def test_command_given_what_is_wrong_says_so_and_changes_nothing(case, installation, app, files, passphrases):
    template, file, code, words = TABLE[case]
    arguments = [part.format(file=files / file, **passphrases) for part in template.split()]
    refused(CliRunner().invoke(app, [*arguments, "--home", str(installation.home)]), code, *words)


BEFORE_THE_PASSPHRASE = {
    "file-that-is-not-there": ("dataset encrypt nothing.csv --name fresh --as anna", 4, "no such file"),
    "condition-on-an-unknown-column": ("dataset encrypt {file} --name fresh --where no=1 --as anna", 5, "row rule"),
    "name-that-is-taken": ("dataset encrypt {file} --name visits --as anna", 7, "already"),
    "data-that-is-shared": ("dataset share visits Study --as anna", 7, "shared into this workspace already"),
    "data-of-others": ("dataset share findings Study --as anna", 4, "findings"),
    "job-without-a-test": ("job submit Good --as anna", 5, "needs a successful test run"),
    "job-not-under-review": ("review approve Good --as lea", 7, "not under review"),
    "nothing-to-withdraw": ("consent withdraw Good --as lea", 4, "ever submitted for review"),
    "nothing-to-accept": ("workspace accept Study --as lea", 7, "no member list waits"),
    "organisation-that-is-there": ("org create Hospital", 7, "'Hospital' already"),
    "member-that-is-there": ("member create anna --org Hospital", 7, "'anna' already"),
    "member-of-nobody": ("member create new --org Nowhere", 4, "organisation"),
    "broker-that-is-not-here": ("broker serve --org Nowhere", 4, "organisation"),
}


@pytest.mark.usefixtures("untouched", "draft", "built")
@pytest.mark.parametrize("case", BEFORE_THE_PASSPHRASE)
def test_command_that_cannot_succeed_is_refused_before_it_asks_for_a_passphrase(case, installation, app, files):
    line, code, word = BEFORE_THE_PASSPHRASE[case]
    arguments = line.format(file=files / "good.csv").split()
    refused(CliRunner().invoke(app, [*arguments, "--home", str(installation.home)]), code, word)


@pytest.mark.usefixtures("untouched")
def test_command_that_could_succeed_asks_for_the_passphrase_before_it_does_anything(installation, app, files):
    arguments = [
        "dataset",
        "encrypt",
        str(files / "good.csv"),
        "--name",
        "fresh",
        "--as",
        "anna",
        "--home",
        str(installation.home),
    ]
    refused(CliRunner().invoke(app, arguments), 3, "the passphrase of member 'anna' is needed")


@pytest.fixture
def others_key(installation):
    """Ben's key file in the place of anna's."""
    own, other = (member_key_path(installation.settings, name) for name in ("anna", "ben"))
    kept = own.read_bytes()
    own.write_bytes(other.read_bytes())
    yield
    own.write_bytes(kept)


@pytest.mark.usefixtures("untouched", "others_key")
def test_key_that_is_not_the_members_is_refused_before_data_is_encrypted(installation, app, files, passphrases):
    arguments = ENCRYPT.format(file=files / "good.csv", **passphrases).split()
    refused(CliRunner().invoke(app, [*arguments, "--home", str(installation.home)]), 8, "not the one", "'anna'")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("attack", ["truncated", "swapped", "missing", "extra"])
def test_dataset_file_that_is_not_the_signed_one_is_named(installation, app, attack):
    settings = installation.services.context.settings
    folders = {name: settings.dataset_dir(view.id, view.versions[-1].version) for name, view in installation.datasets.items()}
    part, other = (folders[name] / "part-00000.parquet" for name in ("visits", "findings"))
    kept = part.read_bytes()
    part.chmod(0o600)
    try:
        if attack == "truncated":
            part.write_bytes(kept[:-7])
        elif attack == "swapped":
            part.write_bytes(other.read_bytes())
        elif attack == "missing":
            part.unlink()
        else:
            shutil.copy(other, part.with_name("part-00001.parquet"))
        result = CliRunner().invoke(app, ["dataset", "verify", "visits", "--as", "anna", "--home", str(installation.home)])
    finally:
        part.with_name("part-00001.parquet").unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        part.write_bytes(kept)
    refused(result, 8, "that its manifest does not list" if attack == "extra" else "part-00000")


@pytest.fixture
def broker_away(installation):
    """The hospital's broker, where nobody answers."""
    organisation = installation.organisations["Hospital"]
    move(installation, organisation.entry.id, "http://127.0.0.1:9")
    yield
    move(installation, organisation.entry.id, organisation.broker_address)


def move(installation, organisation_id, address):
    """Say where a broker answers, to the database and to its members' clients."""
    installation.services.workspaces.move_broker(organisation_id, broker_address=address)
    for name in members_here(installation.settings, organisation_id):
        own = pinned_organisation(installation.settings, installation.services.workspaces.member_for_login(name))
        pin_organisation(installation.settings, name, replace(own, broker_address=address))


@pytest.mark.usefixtures("broker_away", "untouched")
def test_broker_that_does_not_answer_keeps_data_from_being_made(installation, app, files, passphrases):
    arguments = ENCRYPT.format(file=files / "good.csv", **passphrases).split()
    refused(CliRunner().invoke(app, [*arguments, "--home", str(installation.home)]), 3, "127.0.0.1:9")


@pytest.mark.usefixtures("broker_away", "untouched")
def test_broker_that_does_not_answer_keeps_data_from_being_shared(installation, app, passphrase_file):
    arguments = ["dataset", "share", "visits", "Study", "--as", "anna", "--passphrase-file", str(passphrase_file)]
    refused(CliRunner().invoke(app, [*arguments, "--home", str(installation.home)]), 3, "127.0.0.1:9", "broker serve --org")


def program(*arguments, before="", **over):
    """Run the program in a process of its own, after some Python."""
    start = f"{before}\nimport sys\nfrom opaque_jobs.cli.main import run\nsys.argv[0] = 'opaque-jobs'\nrun()"
    command = [sys.executable, "-W", "ignore", "-c", start, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "NO_COLOR": "1"} | over.pop("env", {})
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, check=False, **over)


FULL = {
    "by-limit": "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (4_000_000, 4_000_000))",
    "by-a-small-disk": (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.unshare(0x20000) == 0\n"
        "assert libc.mount(b'none', b'/', b'none', 0x4000 | 0x40000, b'') == 0\n"
        "assert libc.mount(b'small', os.environ['SMALL'].encode(), b'tmpfs', 0, b'size=2m') == 0\n"
    ),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("how", FULL)
def test_disk_that_is_full_keeps_nothing_half_written(installation, passphrase_file, tmp_path, how):
    if how == "by-a-small-disk" and os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    big = tmp_path / "big.csv"
    big.write_text("id,text\n" + "\n".join(f"{row},{os.urandom(24).hex()}" for row in range(150_000)))
    arguments = ENCRYPT.format(file=big, passphrase=passphrase_file).split()
    small = {"SMALL": str(installation.settings.storage_dir)}
    result = program(*arguments, "--home", installation.home, before=FULL[how], env=small)
    refused(result, 3, "cannot be written", "nothing was kept")
    assert [path.name for path in installation.settings.storage_dir.rglob("*.partial")] == []


@pytest.mark.usefixtures("untouched")
def test_home_that_is_no_absolute_path_is_refused(app):
    refused(CliRunner().invoke(app, ["org", "list"], env={"OPAQUE_JOBS_HOME": "relative"}), 3, "OPAQUE_JOBS_HOME")


@pytest.mark.usefixtures("untouched")
def test_up_with_airflows_port_in_use_says_which(installation, app, passphrase_file):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        arguments = ["up", "--port", str(port), "--passphrase-file", str(passphrase_file), "--home", str(installation.home)]
        refused(CliRunner().invoke(app, arguments), 3, f"port {port} of Airflow is in use")


@pytest.mark.usefixtures("untouched")
def test_up_with_a_passphrase_that_opens_not_every_broker_says_which(installation, app, wrong_file, monkeypatch):
    monkeypatch.setattr("opaque_jobs.cli.up.check_port", lambda *_: None)  # the brokers of these tests are there already
    arguments = ["up", "--port", "0", "--passphrase-file", str(wrong_file), "--home", str(installation.home)]
    refused(CliRunner().invoke(app, arguments), 8, "the key broker of 'Hospital'", "--passphrase-file 'Hospital=FILE'")


def test_encrypting_says_what_approved_jobs_may_read(installation, app, files, passphrases):
    """A refresh carries nothing over; nobody but the owner can notice."""
    arguments = ENCRYPT.format(file=files / "good.csv", **passphrases).split()
    shut = ["--where", "age>=18", "--column", "id", "--column", "site"]
    for name, more, said in (("open", [], "all columns; all rows"), ("shut", shut, "id, site; age >= 18")):
        named = [name if each == "fresh" else each for each in arguments]
        result = CliRunner().invoke(app, [*named, *more, "--home", str(installation.home)])
        assert said in " ".join(result.stderr.split())


@pytest.mark.usefixtures("untouched")
def test_up_with_a_brokers_port_in_use_says_whose(installation, app, passphrase_file):
    arguments = ["up", "--port", "0", "--passphrase-file", str(passphrase_file), "--home", str(installation.home)]
    refused(CliRunner().invoke(app, arguments), 3, "the key broker of 'Hospital' is in use")


@pytest.mark.usefixtures("untouched")
def test_second_up_of_a_home_is_refused(installation, app, passphrase_file):
    with (installation.home / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        arguments = ["up", "--port", "0", "--passphrase-file", str(passphrase_file), "--home", str(installation.home)]
        refused(CliRunner().invoke(app, arguments), 7, "up already")


REFUSES_NAMESPACES = """
import pyseccomp as s
rules = s.SyscallFilter(s.ALLOW)
rules.add_rule(s.ERRNO(1), "unshare")
rules.add_rule(s.ERRNO(1), "clone", s.Arg(0, s.MASKED_EQ, 0x10000000, 0x10000000))
rules.add_rule(s.ERRNO(38), "clone3")
rules.load()
"""


@pytest.fixture
def built(installation, enclave_runtime, runtime_settings):
    """The runtime of all tests, in this home."""
    link = installation.home / "runtime"
    link.symlink_to(runtime_settings.runtime_dir)
    yield
    link.unlink()


def storage(installation):
    return {name: digest for name, digest in contents(installation.home).items() if not name.endswith(".db")}


@pytest.mark.usefixtures("draft", "built")
def test_input_out_of_range_is_refused_before_a_test_run_is_made(installation, app):
    before = contents(installation.home)
    arguments = ["job", "test", "Good", "--input", "floor=500", "--as", "anna", "--home", str(installation.home)]
    refused(CliRunner().invoke(app, arguments), 5, "'floor'", "constraints")
    assert contents(installation.home) == before


@pytest.mark.usefixtures("draft", "built")
def test_machine_without_bubblewrap_fails_the_run_and_names_the_package(installation, app):
    before = storage(installation)
    arguments = ["job", "test", "Good", "--as", "anna", "--home", str(installation.home)]
    refused(CliRunner().invoke(app, arguments, env={"PATH": "/nonexistent"}), 3, "bubblewrap is missing", "apt install")
    assert storage(installation) == before


@pytest.mark.usefixtures("draft", "built")
def test_machine_without_user_namespaces_fails_the_run_and_names_the_doctor(installation):
    before = storage(installation)
    arguments = ["job", "test", "Good", "--as", "anna", "--home", installation.home]
    refused(program(*arguments, before=REFUSES_NAMESPACES), 9, "sandbox-unavailable", "opaque-jobs doctor")
    assert storage(installation) == before


@pytest.fixture
def without_java(installation, enclave_runtime):
    """A runtime in this home whose Java was deleted."""
    folder = installation.home / "runtime"
    folder.mkdir()
    subprocess.run(["cp", "-al", enclave_runtime.root.parent, folder], check=True)
    (folder / enclave_runtime.root.parent.name / "root" / JAVA).unlink()
    yield
    shutil.rmtree(folder)


@pytest.mark.usefixtures("draft", "without_java")
def test_runtime_without_its_java_runs_nothing_and_says_how_to_build_it_anew(installation, app):
    before = storage(installation)
    arguments = ["job", "test", "Good", "--as", "anna", "--home", str(installation.home)]
    refused(CliRunner().invoke(app, arguments), 8, "runtime", "opaque-jobs runtime build")
    assert storage(installation) == before


@pytest.mark.usefixtures("built")
def test_sql_that_does_not_parse_is_pointed_at_when_drafted_and_fails_its_test_run(installation, app, passphrase_file, tmp_path):
    code = tmp_path / "broken.sql"
    code.write_text("SELECT id,\n  count( FROM visits GROUP BY id")
    home = ["--as", "anna", "--home", str(installation.home)]
    arguments = ["job", "create", "Study", "--name", "Broken", "--sql", str(code), "--dataset", "visits", "--tee", "simulated"]
    made = CliRunner().invoke(app, [*arguments, *home])
    assert (made.exit_code, "line 2" in made.stderr) == (0, True), made.output
    failed = CliRunner().invoke(app, ["job", "test", "Broken", *home])
    refused(failed, 7, "the run failed: author-error", "opaque-jobs result log run-")
    (run_id,) = re.findall(r"run-[0-9a-f]{24}", failed.stderr)
    assert {("state", "failed"), ("reason", "author-error")} <= {tuple(line.split()) for line in failed.stdout.splitlines()}
    assert "progress" not in failed.stdout
    asked = CliRunner().invoke(app, ["result", "show", run_id, *home, "--passphrase-file", str(passphrase_file)])
    refused(asked, 7, "no result: the run failed: author-error", f"opaque-jobs result log {run_id}")
    log = CliRunner().invoke(app, ["result", "log", run_id, *home, "--passphrase-file", str(passphrase_file)])
    assert "PARSE_SYNTAX_ERROR" in log.output


SUBMISSIONS = {
    "with-a-wrong-passphrase": ("--no-test none --passphrase-file {wrong}", 8, ["anna.member.json"]),
    "without-a-test": ("--passphrase-file {passphrase}", 5, ["test"]),
    "without-a-way-to-ask-for-the-passphrase": ("--no-test none", 3, ["--passphrase-file"]),
}


@pytest.mark.usefixtures("draft", "built", "untouched")
@pytest.mark.parametrize("case", SUBMISSIONS)
def test_submission_that_is_not_complete_changes_nothing(case, installation, app, passphrases):
    options, code, words = SUBMISSIONS[case]
    arguments = ["job", "submit", "Good", "--as", "anna", *(part.format(**passphrases) for part in options.split())]
    refused(CliRunner().invoke(app, [*arguments, "--home", str(installation.home)]), code, *words)


@pytest.mark.usefixtures("draft", "built", "untouched")
def test_key_of_another_member_in_ones_place_is_not_believed(installation, app, passphrase_file):
    anna, lea = member_key_path(installation.settings, "anna"), member_key_path(installation.settings, "lea")
    kept = anna.read_bytes()
    anna.write_bytes(lea.read_bytes())
    try:
        arguments = ["job", "submit", "Good", "--no-test", "none", "--as", "anna", "--passphrase-file", str(passphrase_file)]
        result = CliRunner().invoke(app, [*arguments, "--home", str(installation.home)])
    finally:
        anna.write_bytes(kept)
    refused(result, 8)
