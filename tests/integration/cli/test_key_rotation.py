"""Changing keys on the command line: what follows, who may, and that an interruption at any step loses nothing."""

import base64
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from opaque_jobs.broker.config import claimed_config
from opaque_jobs.cli.rotation import Making, rotate_member_key, rotate_sealing_key
from opaque_jobs.client.keys import former_key_paths, member_key_path, organisation_key_path
from opaque_jobs.crypto.consent import sign_manifest, verify_manifest
from opaque_jobs.crypto.key_files import (
    KeyKind,
    create_key_file,
    open_broker_keys,
    open_organisation_key,
    open_signing_key,
    read_public_keys,
)
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.services import open_services
from opaque_jobs.standalone.broker_process import BrokerProcess, local_brokers
from opaque_jobs.store import people

from .conftest import PASSPHRASE, CommandLine, free_ports, make_command_line, write_private

VISITS = "patient,age,ward\n" + "".join(f"p{number},{20 + number},{'AB'[number % 2]}\n" for number in range(40))
NEW = "another horse battery"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, enclave_runtime, runtime_settings) -> Path:
    """Two organisations, three members, a workspace with a data set; made once, tests work on copies."""
    folder = tmp_path_factory.mktemp("prepared")
    line = make_command_line(folder)
    (line.home / "runtime").symlink_to(runtime_settings.runtime_dir)
    ports = iter(free_ports(2))
    for organisation, members in (("Hospital", ("anna", "ben")), ("Laboratory", ("lea",))):
        line.json("org", "create", organisation, "--broker-port", str(next(ports)))
        for member in members:
            line.json("member", "create", member, "--org", organisation)
    (folder / "visits.csv").write_text(VISITS)
    with brokers(line):
        line.json("workspace", "create", "Study", "--member", "ben", "--member", "lea", "--as", "anna")
        accept(line, "anna", "ben", "lea")
        line.json("dataset", "encrypt", str(folder / "visits.csv"), "--name", "visits", "--as", "anna")
        line.json("dataset", "share", "visits", "Study", "--as", "anna")
    return folder


@contextmanager
def brokers(line: CommandLine) -> Iterator[None]:
    opened = open_services(line.settings)
    started = [BrokerProcess(line.settings, each) for each in local_brokers(opened)]
    opened.close()
    try:
        for broker in started:
            broker.start(PASSPHRASE)
        for broker in started:
            broker.wait_ready()
        yield
    finally:
        for broker in started:
            broker.stop()


@pytest.fixture
def running(prepared, tmp_path) -> Iterator[CommandLine]:
    """A copy of the prepared installation, with its brokers."""
    shutil.copytree(prepared / "home", tmp_path / "home", symlinks=True)
    line = CommandLine(home=tmp_path / "home", passphrase_file=prepared / "passphrase")
    with brokers(line):
        yield line


@pytest.fixture
def new_file(tmp_path) -> str:
    return str(write_private(tmp_path / "new-passphrase", NEW))


def accept(line: CommandLine, *names: str, passphrase: str | None = None):
    for name in names:
        more = ("--passphrase-file", passphrase) if passphrase else ()
        shown = line.accept("Study", name, *more)
    return shown


def submitted(line: CommandLine, tmp_path: Path, *more: str) -> str:
    (tmp_path / "count.sql").write_text("SELECT count(*) AS n FROM visits")
    job = line.json(
        *("job", "create", "Study", "--name", "Count", "--sql", str(tmp_path / "count.sql")),
        *("--dataset", "visits", "--tee", "simulated", "--as", "anna"),
    )["id"]
    line.json("job", "submit", job, "--no-test", "nothing to see", "--as", "anna", *more)
    return job


def approved(line: CommandLine, tmp_path: Path) -> str:
    job = submitted(line, tmp_path)
    for name in ("ben", "lea"):
        line.vote("approve", job, name)
    return job


def status(line: CommandLine, job: str) -> str:
    return line.json("job", "show", job, "--as", "ben")["status"]


def test_member_key_changed_counts_from_the_epoch_that_all_accept(running, tmp_path, new_file):
    job = approved(running, tmp_path)
    before = running.json("member", "list")
    done = running.json("member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    assert sorted(done["workspaces"]["Study"]) == ["ben", "lea"]
    assert (done["pinned"], done["renewed_signatures"], done["left_to_accept"]) == (True, 0, {})
    (again,) = done["not_signed_again"]
    assert (again["dataset"], again["version"]) == ("visits", 1)
    finished = running.json("member", "rotate-key", "anna", "--sign-again", again["digest"], "--passphrase-file", new_file)
    assert (finished["key_id"], finished["renewed_signatures"], finished["not_signed_again"]) == (done["key_id"], 1, [])
    assert {each["key_id"] for each in before} - {each["key_id"] for each in running.json("member", "list")} == {
        next(each["key_id"] for each in before if each["name"] == "anna")
    }
    assert status(running, job) == "accepted"
    assert accept(running, "ben")["changed_keys"] == ["anna: signing, by former_key"]
    accept(running, "lea")
    assert running.json("workspace", "show", "Study", "--as", "anna")["epoch"] == 2
    assert status(running, job) == "superseded"
    fresh = submitted(running, tmp_path, "--passphrase-file", new_file)
    for name in ("ben", "lea"):
        running.vote("approve", fresh, name)
    assert status(running, fresh) == "accepted"


def test_member_key_file_of_before_is_kept_aside_and_withdraws_consent_until_the_new_epoch(running, tmp_path, new_file):
    job = approved(running, tmp_path)
    (former,) = running.json("member", "rotate-key", "anna", "--new-passphrase-file", new_file)["former_key_files"]
    assert Path(former).name.startswith("anna.member.former-")
    assert Path(former).stat().st_mode & 0o777 == 0o600
    open_signing_key(member_key_path(running.settings, "anna"), NEW)
    open_signing_key(Path(former), PASSPHRASE)
    # The own broker believes the former list no more, releases nothing under it, and says so; the other one is told.
    running.fails(8, "consent", "withdraw", job, "--as", "anna")
    assert status(running, job) == "withdrawn"
    folder = running.settings.broker_dir(running.json("org", "show", "Laboratory")["id"])
    with closing(sqlite3.connect(f"file:{folder / 'broker.db'}?mode=ro", uri=True)) as memory:
        assert memory.execute("SELECT count(*) FROM withdrawals").fetchone() == (1,)


def test_member_key_change_said_again_waits_for_the_others_and_makes_a_second_key_only_when_told_to(running, new_file):
    new = ("--new-passphrase-file", new_file)
    first = running.json("member", "rotate-key", "anna", *new)
    again = running.json("member", "rotate-key", "anna", "--passphrase-file", new_file)
    assert (again["key_id"], again["workspaces"]) == (first["key_id"], first["workspaces"])
    second = running.json("member", "rotate-key", "anna", "--again", "--passphrase-file", new_file)
    assert second["key_id"] != first["key_id"]
    assert accept(running, "ben")["changed_keys"] == ["anna: signing, by former_key"]
    accept(running, "lea")
    assert running.json("workspace", "show", "Study", "--as", "anna")["epoch"] == 2


def test_member_key_change_hints_name_commands_for_the_others(running, new_file):
    result = running("member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    assert result.exit_code == 0
    said = " ".join(result.stderr.split())
    assert "opaque-jobs workspace accept Study" in said
    assert "anna.member.former-" in said
    assert PASSPHRASE not in result.output + result.stderr
    assert NEW not in result.output + result.stderr


def test_member_key_that_was_lost_is_changed_on_the_word_of_the_organisation(running, new_file):
    path = member_key_path(running.settings, "anna")
    path.unlink()
    running.fails(4, "member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    assert not path.exists()
    running.json("member", "rotate-key", "anna", "--lost", "--new-passphrase-file", new_file)
    assert accept(running, "ben")["changed_keys"] == ["anna: signing, by organisation"]
    accept(running, "lea")
    assert running.json("workspace", "show", "Study", "--as", "lea")["epoch"] == 2


@pytest.mark.parametrize("whose", ["--passphrase-file", "--broker-passphrase-file"])
def test_member_key_changed_with_a_wrong_passphrase_changes_nothing(running, tmp_path, new_file, whose):
    before = running.json("member", "list")
    wrong = write_private(tmp_path / "wrong", "wrong horse battery")
    running.fails(8, "member", "rotate-key", "anna", whose, str(wrong), "--new-passphrase-file", new_file)
    assert running.json("member", "list") == before
    assert not list(member_key_path(running.settings, "anna").parent.glob("*.new.json"))
    assert running.json("workspace", "show", "Study", "--as", "anna")["waiting_for"] == []


def test_key_that_the_database_changed_is_accepted_by_nobody(running):
    """The administrator replaces anna's key and proposes it; the others' own commands refuse to sign."""
    opened = open_services(running.settings)
    try:
        anna = opened.workspaces.member_for_login("anna")
        with opened.context.store.write() as session:
            people.set_key(session, people.member(session, anna.id), SigningKey.generate().public.text)
        opened.workspaces.propose_keys(anna.id)
    finally:
        opened.close()
    for name in ("ben", "lea"):
        assert "changes a key of 'anna'" in running.fails(8, "workspace", "accept", "Study", "--as", name)
    assert sorted(running.json("workspace", "show", "Study", "--as", "lea")["waiting_for"]) == ["anna", "ben", "lea"]


def test_list_that_follows_none_that_the_member_signed_is_not_accepted(running, new_file):
    """The administrator shows a former list in which the changed key stands already."""
    running.json("member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database, database:
        (body,) = database.execute("SELECT body FROM rosters WHERE state = 'proposed'").fetchone()
        document = json.loads(body) | {"epoch": 1, "genesis": None, "previous": None}
        database.execute("UPDATE rosters SET body = ? WHERE state = 'in_force'", (canonical_bytes(document),))
    message = running.fails(8, "workspace", "accept", "Study", "--as", "ben")
    assert "is not here as all its members signed it" in message


def test_list_with_another_log_is_not_accepted(running, new_file):
    """The administrator puts the key of a log of their own into the list that waits."""
    running.json("member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database, database:
        (body,) = database.execute("SELECT body FROM rosters WHERE state = 'proposed'").fetchone()
        document = json.loads(body) | {"log_key": SigningKey.generate().public.text}
        database.execute("UPDATE rosters SET body = ? WHERE state = 'proposed'", (canonical_bytes(document),))
    assert "names another log" in running.fails(8, "workspace", "accept", "Study", "--as", "ben")


def test_manifest_that_the_former_key_did_not_sign_is_not_signed_again(running, new_file):
    """The administrator puts other contents under the former key's name; only what that key signed gets the new signature."""
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database, database:
        (envelope,) = database.execute("SELECT envelope FROM dataset_versions").fetchone()
        document = json.loads(envelope)
        payload = json.loads(base64.b64decode(document["payload"]))
        payload["predicate"]["name"] = "others"
        forged = canonical_bytes(document | {"payload": base64.b64encode(canonical_bytes(payload)).decode()})
        database.execute("UPDATE dataset_versions SET envelope = ?", (forged,))
    running.fails(8, "member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database:
        assert database.execute("SELECT envelope FROM dataset_versions").fetchone() == (forged,)


def test_manifest_that_a_thief_signed_is_never_signed_again_after_a_theft(running, new_file):
    """Somebody with the stolen key registered a manifest of theirs: it stands with a true signature of the member's."""
    opened = open_services(running.settings)
    anna = opened.workspaces.member_for_login("anna")
    opened.close()
    key = open_signing_key(member_key_path(running.settings, "anna"), PASSPHRASE)
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database, database:
        (envelope,) = database.execute("SELECT envelope FROM dataset_versions").fetchone()
        planted = sign_manifest(replace(verify_manifest(envelope, [anna]), created_at="2026-01-01T00:00:00+00:00"), key)
        database.execute("UPDATE dataset_versions SET envelope = ?", (planted,))
    done = running.json("member", "rotate-key", "anna", "--stolen", "--new-passphrase-file", new_file)
    assert (done["renewed_signatures"], done["not_signed_again"]) == (0, [])
    later = ("member", "rotate-key", "anna", "--passphrase-file", new_file)
    named = ("--sign-again", verify_manifest(planted, [anna]).digest)
    again = running.json(*later)
    assert (again["key_id"], again["renewed_signatures"], again["not_signed_again"]) == (done["key_id"], 0, [])
    assert "no data set version that a key of yours signed" in running.fails(4, *later, *named)
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database:
        assert database.execute("SELECT envelope FROM dataset_versions").fetchone() == (planted,)


def test_digest_to_sign_again_that_no_own_key_signed_is_refused_before_the_key_is_changed(running, new_file):
    before = running.json("member", "show", "anna")
    unknown = ("--sign-again", "sha256:" + "0" * 64)
    assert "nothing was done" in running.fails(4, "member", "rotate-key", "anna", *unknown, "--new-passphrase-file", new_file)
    assert running.json("member", "show", "anna") == before
    assert not list(running.settings.keys_dir.glob("*.new.json"))


def test_list_that_changes_something_else_too_is_not_signed_with_the_new_key(running, new_file):
    """Somebody's change waits, unseen: the rotation names it, and leaves it to be read and accepted."""
    running.json("workspace", "change", "Study", "--run-policy", "all_members", "--as", "ben")
    done = running.json("member", "rotate-key", "anna", "--new-passphrase-file", new_file)
    assert done["left_to_accept"] == {"Study": ["who may run jobs"]}
    assert "anna" in done["workspaces"]["Study"]
    new = ("--passphrase-file", new_file)
    assert "was not displayed" in running.fails(7, "workspace", "accept", "Study", "--as", "anna", *new)
    assert "anna" not in running.accept("Study", "anna", *new)["waiting_for"]


@pytest.mark.parametrize("what", ["member", "org"])
def test_key_is_not_changed_for_another_whom_the_database_calls_so(running, new_file, what):
    name, table = ("anna", "members") if what == "member" else ("Hospital", "organisations")
    other = "ben" if what == "member" else "Laboratory"
    with closing(sqlite3.connect(running.home / "opaque-jobs.db")) as database, database:
        for before, after in ((name, "x"), (other, name), ("x", other)):
            database.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (after, before))  # noqa: S608
    running.fails(8, what, "rotate-key", name, "--new-passphrase-file", new_file)


def test_sealing_key_changed_counts_from_the_epoch_that_all_accept(running, tmp_path, new_file):
    job = approved(running, tmp_path)
    former = running.json("org", "show", "Hospital")["sealing_key_id"]
    done = running.json("org", "rotate-key", "Hospital", "--new-passphrase-file", new_file)
    assert done["key_id"] != former
    assert sorted(done["workspaces"]["Study"]) == ["anna", "ben", "lea"]
    (aside,) = done["former_key_files"]
    assert read_public_keys(Path(aside)).sealing.key_id == former
    open_organisation_key(Path(aside), PASSPHRASE)
    assert accept(running, "anna")["changed_keys"] == ["Hospital: sealing, by organisation"]
    accept(running, "ben", "lea")
    assert status(running, job) == "superseded"
    again = submitted(running, tmp_path)
    assert running.json("review", "show", again, "--as", "lea")["spec"]["recipients"][0]["sealing_key_id"] == done["key_id"]


class KilledError(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def making(kind: KeyKind, owner_id: str, broker: Path, former: Path, killed: set[str]) -> Making:
    def step(title: str) -> None:
        if title not in killed:
            killed.add(title)
            raise KilledError

    def authorise():
        return open_signing_key(former, PASSPHRASE) if kind is KeyKind.MEMBER else open_broker_keys(broker, PASSPHRASE).signing

    return Making(
        make=lambda path: create_key_file(path, kind=kind, owner_id=owner_id, passphrase=NEW) and None,
        authorise=authorise,
        open_new=lambda path: open_signing_key(path, NEW),
        broker=lambda: open_broker_keys(broker, PASSPHRASE),
        sign_again=lambda manifests: [each.digest for each in manifests],
        step=step,
    )


def change_key(line: CommandLine, kind: KeyKind, killed: set[str]):
    """Change a key, killed before the first step that is not among those; it is then."""
    opened = open_services(line.settings)
    try:
        organisation = opened.workspaces.organisation("Hospital")
        broker = line.settings.broker_dir(organisation.entry.id) / "key.json"
        if kind is KeyKind.MEMBER:
            member, path = opened.workspaces.member_for_login("anna"), member_key_path(line.settings, "anna")
            return rotate_member_key(opened, member, path, making(kind, member.id, broker, path, killed))
        path = organisation_key_path(line.settings, "Hospital")
        return rotate_sealing_key(opened, organisation, path, making(kind, organisation.entry.id, broker, path, killed))
    finally:
        opened.close()


@pytest.mark.parametrize("kind", [KeyKind.MEMBER, KeyKind.ORGANISATION])
def test_change_killed_at_each_step_is_finished_by_saying_it_again(running, kind):
    """Each step is the last once, on one installation: the change that was begun is finished, and no second one is made."""
    member = kind is KeyKind.MEMBER
    path = member_key_path(running.settings, "anna") if member else organisation_key_path(running.settings, "Hospital")
    opener = open_signing_key if member else open_organisation_key
    former = opener(path, PASSPHRASE).public
    killed: set[str] = set()
    while True:
        try:
            done = change_key(running, kind, killed)
        except KilledError:
            here = [each for each in (path, *former_key_paths(path)) if _public(each) == former]
            assert here, killed
            opener(here[0], PASSPHRASE)
        else:
            break
    assert len(killed) == (8 if member else 4)
    assert opener(path, NEW).public != former
    assert [_public(each) for each in former_key_paths(path)] == [former]
    assert sorted(each.name for each in path.parent.glob("*.new.json")) == []
    assert _public(path).key_id == done.key_id
    if member:
        config = claimed_config(running.settings.broker_dir(_organisation_id(running)))
        assert [each.key_id for each in config.members if each.name == "anna"] == [done.key_id]
        assert running.json("workspace", "show", "Study", "--as", "ben")["waiting_for"] != []
        assert done.workspaces[0].proposal.roster.epoch == 2


def _public(path: Path):
    public = read_public_keys(path)
    return public.signing or public.sealing


def _organisation_id(line: CommandLine) -> str:
    return line.json("org", "show", "Hospital")["id"]
