"""Whoever writes the database and the storage shows a member a result that no enclave made: it does not open."""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from consortium import copy_consortium
from own_files import write_own_files, write_public_part
from simulated_agent import SimulatedAgent
from typer.testing import CliRunner

from opaque_jobs.cli.main import build_app
from opaque_jobs.client.memory import memory_path
from opaque_jobs.client.organisation import pin_organisation, pinned_organisation
from opaque_jobs.client.signed_lists import known_beforehand
from opaque_jobs.client.verified_runs import verified_run
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.errors import NotFoundError, TrustError
from opaque_jobs.protocol.result_files import Content, seal_info, sealed_file
from opaque_jobs.runner.execution import execute
from opaque_jobs.standalone.local_session import local_session

TWICE = RerunTerms(
    max_runs=2,
    not_before=None,
    not_after="2100-01-01T00:00:00+00:00",
    min_interval_s=0,
    schedule=None,
    variable_inputs=(),
    follows=(),
)


class Two:
    """Two runs of one job that succeeded, and what Anna has in her home."""

    def __init__(self, cast):
        self.cast, self.services, self.settings = cast, cast.services, cast.services.context.settings
        cast.anchor = create_service_key(self.settings.simulated_key_path)
        write_own_files(cast, "anna", "lea")
        job = cast.accepted_job(rerun_terms=TWICE)
        self.run, self.other = self.finished(job), self.finished(job)
        self.anna = cast.people["anna"].entry

    def finished(self, job):
        run = self.cast.open_run(job.id)
        outcome = execute(self.services, run.id, cores=1, memory_bytes=1 << 31, session=SimulatedAgent(self.cast))
        assert outcome.state is RunState.SUCCEEDED
        return run

    def sql(self, statement, *values):
        with closing(sqlite3.connect(self.settings.home / "opaque-jobs.db")) as database, database:
            assert database.execute(statement, values).rowcount == 1

    def verified(self):
        with self.opened() as proved:
            return proved

    def opened(self):
        return verified_run(
            local_session(self.services, self.anna), self.services.runs.show(self.run.id, actor=self.anna.id), self.anna
        )

    @property
    def folder(self):
        return self.settings.result_dir(self.run.id)

    def __call__(self, *arguments):
        return CliRunner().invoke(build_app(arguments), [*arguments, "--home", str(self.settings.home), "--as", "anna"], env={})


@pytest.fixture(scope="module")
def ended(settled, tmp_path_factory):
    cast = copy_consortium(settled, tmp_path_factory.mktemp("proved") / "home")
    yield Two(cast)
    cast.services.close()


@pytest.fixture
def two(ended, tmp_path):
    """The two runs, as they are at first after each test."""
    kept = {"results": ended.folder.parent, "keys": ended.settings.keys_dir}
    for name, path in kept.items():
        shutil.copytree(path, tmp_path / name)
    database = ended.settings.home / "opaque-jobs.db"
    with closing(sqlite3.connect(database)) as opened, closing(sqlite3.connect(tmp_path / "db")) as copy:
        opened.backup(copy)
    yield ended
    with closing(sqlite3.connect(database)) as opened, closing(sqlite3.connect(tmp_path / "db")) as copy:
        copy.backup(opened)
    for name, path in kept.items():
        shutil.rmtree(path)
        shutil.copytree(tmp_path / name, path)


def test_run_whose_receipt_holds_is_proved(two):
    proved = two.verified()
    assert (proved.receipt.run_id, proved.run.trust_label) == (two.run.id, "simulated")


def test_files_that_the_storage_changes_after_they_were_verified_are_opened_as_they_were_verified(two):
    with two.opened() as proved:
        for each in two.folder.rglob("*"):
            if each.is_file():
                each.write_bytes(b"something else")
        found = {each.name: digest((proved.folder / each.name).read_bytes()) for each in proved.receipt.outputs}
        assert found == {each.name: each.sha256 for each in proved.receipt.outputs}
        assert proved.folder.parent.stat().st_mode & 0o777 == 0o700
    assert not proved.folder.parent.exists()


@pytest.mark.parametrize("lay", [lambda path, kept: path.symlink_to(kept), lambda path, _: os.mkfifo(path)], ids=["link", "pipe"])
def test_result_with_a_file_that_is_none_is_refused_and_no_copy_stays(two, lay, tmp_path):
    files = [each for each in two.folder.rglob("*") if each.is_file() and each.name != "receipt.json"]
    path, kept = files[0], tmp_path / "kept"
    path.rename(kept)
    lay(path, kept)
    with pytest.raises((TrustError, NotFoundError)):
        two.verified()
    assert not list(two.settings.home.glob(".opened-*"))


def test_label_and_job_digest_are_those_of_the_receipt_whatever_the_database_says(two):
    digest = two.services.runs.show(two.run.id, actor=two.anna.id).job_digest
    two.sql("UPDATE runs SET trust_label = 'tdx', job_digest = 'sha256:x' WHERE id = ?", two.run.id)
    shown = two.services.runs.show(two.run.id, actor=two.anna.id)
    assert (shown.trust_label, shown.job_digest) == ("tdx", "sha256:x")
    assert (two.verified().run.trust_label, two.verified().run.job_digest) == ("simulated", digest)


def forge(two):
    """Seal rows of one's own to the organisation's public key, as anybody can."""
    info = seal_info(
        Content.RESULT_KEY,
        workspace_id=two.cast.workspace_id,
        job_digest=two.services.runs.show(two.run.id, actor=two.anna.id).job_digest,
        run_id=two.run.id,
    )
    hospital = two.cast.organisations["hospital"].sealing.public
    (two.folder / "result.key.json").write_bytes(sealed_file(bytes(32), [hospital], info))
    (two.folder / "log.sealed.json").write_bytes(sealed_file(b"all is well", [hospital], info | {"content": Content.LOG.value}))


@pytest.mark.parametrize("command", [("show",), ("export", "--to", "result.csv", "--format", "csv"), ("log",)])
def test_forged_folder_is_refused_by_every_command_before_a_key_is_opened(two, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forge(two)
    result = two("result", command[0], two.run.id, *command[1:])
    assert (result.exit_code, "its receipt does not hold" in result.stderr) == (8, True), result.output
    assert not (tmp_path / "result.csv").exists()


def test_files_and_documents_of_another_run_are_refused(two):
    columns = "receipt = o.receipt, bundle = o.bundle, spec = o.spec, inputs = o.inputs"
    two.sql(f"UPDATE runs SET {columns} FROM runs AS o WHERE runs.id = ? AND o.id = ?", two.run.id, two.other.id)  # noqa: S608
    shutil.rmtree(two.folder)
    shutil.copytree(two.settings.result_dir(two.other.id), two.folder)
    with pytest.raises(TrustError, match="another run"):
        two.verified()
    result = two("receipt", "verify", two.run.id)
    assert (result.exit_code, "another run" in result.output) == (8, True), result.output


def test_member_knows_the_list_that_they_signed_beforehand(two):
    known = known_beforehand(
        local_session(two.services, two.anna), two.anna, two.services.runs.receipt(two.run.id, actor=two.anna.id)
    )
    roster = two.services.workspaces.show(two.cast.workspace_id, actor=two.anna.id).roster
    assert (known.workspace_genesis, known.log_key) == (roster.genesis_digest, roster.log_key)
    assert known.brokers == {each.id: each.broker_signing_key for each in roster.organisations}
    assert two("receipt", "verify", two.run.id).exit_code == 0


def test_list_by_another_key_than_the_members_own_proves_nothing(two):
    """The administrator made workspace, list and run with keys of their own: no file here knows of them."""
    write_public_part(two.settings, replace(two.anna, public_key=SigningKey.generate().public.text))
    with pytest.raises(TrustError, match="you and all its members signed"):
        two.verified()
    result = two("receipt", "verify", two.run.id)
    assert (result.exit_code, "you and all its members signed" in result.stderr) == (8, True), result.output


def test_own_broker_is_the_pinned_one_whatever_the_list_says(two):
    own = pinned_organisation(two.settings, two.anna)
    pin_organisation(
        two.settings, "anna", replace(own, entry=replace(own.entry, broker_signing_key=SigningKey.generate().public.text))
    )
    with pytest.raises(TrustError, match="broker is another"):
        two.verified()


def test_run_before_a_member_joined_is_proved_by_the_list_that_they_signed(two):
    """The bundle is of a list that somebody else signed, or of none: the present one counts."""
    context = two.services.runs.receipt(two.run.id, actor=two.anna.id)
    known = known_beforehand(local_session(two.services, two.anna), two.anna, context)
    assert (
        known_beforehand(local_session(two.services, two.anna), two.anna, replace(context, bundle_bytes=canonical_bytes({})))
        == known
    )


def test_member_without_a_key_file_or_a_pin_proves_nothing(two):
    for path in (memory_path(two.settings, "anna"), two.settings.keys_dir / "anna.member.json"):
        path.unlink()
        with pytest.raises(NotFoundError):
            two.verified()
