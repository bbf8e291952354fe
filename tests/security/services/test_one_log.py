"""A keeper of the log who shows a member another log than the brokers: results do not open, and receipts say why."""

import base64
import json
from dataclasses import replace

import pytest
from broker_house import copy_database
from consortium import copy_consortium
from own_files import write_own_files
from simulated_agent import SimulatedAgent
from typer.testing import CliRunner

from opaque_jobs.cli.main import build_app
from opaque_jobs.client.log_heads import verified_head
from opaque_jobs.client.verified_runs import verified_run
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.service_keys import create_service_key, load_service_key
from opaque_jobs.crypto.witnesses import LogWitness
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import TrustError
from opaque_jobs.runner.execution import RunOutcome, execute
from opaque_jobs.services import log_book
from opaque_jobs.standalone.local_session import local_session
from tests.support.log_keeper import LogKeeper

DIFFERS = "the log was shown differently to the data owners' brokers and to you"


class Home:
    """The keeper of a workspace's log, who shows the brokers of a run what they like, and a member who reads its result."""

    def __init__(self, cast):
        self.cast, self.services, self.settings = cast, cast.services, cast.services.context.settings
        cast.anchor = create_service_key(self.settings.simulated_key_path)
        write_own_files(cast, "anna", "lea")
        self.job = cast.accepted_job()
        self.anna = cast.people["anna"].entry

    def outcome(self, *others: str, **knobs) -> RunOutcome:
        """Carry out a run whose brokers are shown other entries after those that prove it than the database has."""
        job = self.job or self.cast.accepted_job()
        self.job = None  # each run is of a job of its own, the first is there already
        self.started = self.cast.open_run(job.id).id
        agent = SimulatedAgent(self.cast, **({"followed": lambda note, _owner: self.follow(note, *others)} | knobs))
        return execute(self.services, self.started, cores=1, memory_bytes=1 << 31, session=agent)

    def run(self, *others: str) -> str:
        assert self.outcome(*others).state is RunState.SUCCEEDED
        return self.started

    def follow(self, note: str, *others: str) -> tuple[str, tuple[str, ...]]:
        """Give the state of a log that goes on from a checkpoint with these submissions, and the proof that it does."""
        size = int(note.split("\n")[1])
        shown = self.copy(size)
        for each in others:
            shown.append(EntryKind.SUBMISSION, each)
        return shown.note() if others else note, tuple(each.hex() for each in shown.consistency(size, shown.tree.size))

    def append(self, subject: str) -> None:
        with self.services.context.store.write() as session:
            now = self.cast.clock()
            log_book.append(self.services.context, session, self.cast.workspace_id, EntryKind.SUBMISSION, subject, now=now)

    def copy(self, size: int) -> LogKeeper:
        """Give the log as it was at a size, to be continued with the same key."""
        workspace = self.cast.workspace_id
        with self.services.context.store.read() as session:
            entries = log_book.page_after(self.services.context, session, workspace, 0).entries[:size]
        keeper = LogKeeper(workspace, load_service_key(self.settings.log_key_path))
        for each in entries:
            keeper.take(each)
        return keeper

    def opened(self, run_id: str):
        with verified_run(
            local_session(self.services, self.anna), self.services.runs.show(run_id, actor=self.anna.id), self.anna
        ) as proved:
            return proved

    def __call__(self, *arguments):
        return CliRunner().invoke(build_app(arguments), [*arguments, "--home", str(self.settings.home), "--as", "anna"], env={})


@pytest.fixture
def home(settled, tmp_path):
    cast = copy_consortium(settled, tmp_path / "home")
    yield Home(cast)
    cast.services.close()


def last_step(home, run_id: str, code: int) -> dict:
    answer = home("receipt", "verify", run_id, "--json")
    assert answer.exit_code == code
    return json.loads(answer.stdout)["steps"][-1]


def test_result_whose_brokers_followed_the_members_log_opens(home):
    run_id = home.run()
    assert home.opened(run_id).receipt.run_id == run_id
    step = last_step(home, run_id, 0)
    assert (step["number"], step["problem"]) == (9, "")


def test_result_whose_brokers_were_shown_another_log_does_not_open(home):
    run_id = home.run("job-2")
    with pytest.raises(TrustError, match=DIFFERS):
        home.opened(run_id)
    step = last_step(home, run_id, 8)
    assert step["number"] == 9
    assert DIFFERS in step["problem"]
    answer = home("result", "show", run_id)
    assert answer.exit_code == 8
    assert DIFFERS in " ".join(answer.stderr.split())


def test_result_whose_brokers_followed_the_log_further_than_the_member_is_shown_does_not_open(home):
    run_id = home.run(*(f"job-{number}" for number in range(20)))
    with pytest.raises(TrustError, match=DIFFERS):
        home.opened(run_id)


def test_result_does_not_open_for_a_member_whose_log_was_set_back(home, tmp_path):
    run_id, database = home.run(), home.settings.home / "opaque-jobs.db"
    copy_database(database, tmp_path / "kept.db")
    home.append("job-2")
    verified_head(local_session(home.services, home.anna), home.anna, home.cast.workspace_id)
    copy_database(tmp_path / "kept.db", database)
    with pytest.raises(TrustError, match="does not continue what you have seen"):
        home.opened(run_id)


@pytest.mark.parametrize(
    "change",
    [
        lambda heads: (),
        lambda heads: heads[:1],
        lambda heads: (*heads, heads[0]),
        lambda heads: (heads[0], heads[0]),
        lambda heads: heads[::-1],
        lambda heads: (replace(heads[0], path=()), *heads[1:]),
        lambda heads: (replace(heads[0], path=("00" * 32,)), *heads[1:]),
        lambda heads: (replace(heads[0], path=("no hash",)), *heads[1:]),
        lambda heads: (replace(heads[0], seen="1 " + heads[0].seen.split()[1]), *heads[1:]),
        lambda heads: (replace(heads[0], organisation_id="org-other"), *heads[1:]),
    ],
)
def test_receipt_that_does_not_prove_one_log_is_refused(home, change):
    lie = lambda receipt: replace(receipt, log_heads=change(receipt.log_heads))  # noqa: E731
    assert home.outcome("job-2", change_receipt=lie).reason == "receipt-refused"


def test_receipt_whose_brokers_followed_different_logs_is_refused(home):
    other = {"org-hospital": ("job-2",), "org-laboratory": ("job-3",)}
    assert home.outcome(followed=lambda note, owner: home.follow(note, *other[owner])).reason == "receipt-refused"
    assert home.outcome(followed=lambda note, _owner: home.follow(note, "job-2")).reason is None


WITNESS_KEY = SigningKey(b"\7" * 32)
WITNESS = LogWitness(name="witness.example", key=WITNESS_KEY.public)


def witnessed(home, tmp_path, note: str, *more: str):
    """Compare a checkpoint that the witness has cosigned."""
    said = f"cosignature/v1\ntime 1700000000\n{note.partition(chr(10) * 2)[0]}\n"
    raw = WITNESS.key_id + (1_700_000_000).to_bytes(8, "big") + WITNESS_KEY.sign(said.encode())
    file = tmp_path / "note.txt"
    file.write_text(f"{note}\u2014 {WITNESS.name} {base64.b64encode(raw).decode()}\n", encoding="utf-8")
    return home("log", "witnessed", home.cast.workspace_id, str(file), *(more or ("--witness", WITNESS.text)))


def test_checkpoint_that_a_witness_cosigned_is_compared_with_the_members_log(home, tmp_path):
    size = home.services.logs.head(home.cast.workspace_id, actor=home.anna.id).size
    answer = witnessed(home, tmp_path, home.copy(size - 1).note(), "--witness", WITNESS.text, "--json")
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)["cosigned"] == {WITNESS.name: "2023-11-14T22:13:20+00:00"}


def test_log_that_was_shown_differently_to_a_witness_is_found(home, tmp_path):
    size = home.services.logs.head(home.cast.workspace_id, actor=home.anna.id).size
    other = home.copy(size - 1)
    other.append(EntryKind.SUBMISSION, "job-2")
    answer = witnessed(home, tmp_path, other.note())
    assert answer.exit_code == 8
    assert "shown differently to its witnesses" in " ".join(answer.stderr.split())


def test_checkpoint_without_the_cosignature_of_a_named_witness_is_refused(home, tmp_path):
    note = home.copy(1).note()
    other = LogWitness(name=WITNESS.name, key=SigningKey(b"\6" * 32).public)
    answer = witnessed(home, tmp_path, note, "--witness", WITNESS.text, "--witness", other.text)
    assert answer.exit_code == 8
    assert witnessed(home, tmp_path, note, "--json").exit_code == 5  # nobody is named
