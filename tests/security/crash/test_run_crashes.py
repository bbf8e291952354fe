"""kill -9 of the worker, of the sandbox and of the agent while a real run is at work: what is left is nothing, or true."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from installation import Installation
from leak_search import Secrets

from opaque_jobs.client.results import open_real_result
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.enclave import LEASE_S
from opaque_jobs.runner.execution import execute
from opaque_jobs.services import open_services
from opaque_jobs.verify.own_trust import own_trust
from opaque_jobs.verify.receipts import verify_receipt

pytestmark = pytest.mark.spark

CASES = [
    *((victim, word) for word in ("fetching-keys", "computing") for victim in ("worker", "sandbox", "agent")),
    ("worker", "sealing"),
    ("agent", "sealing"),
    ("worker", "committed"),
]
VALUES = {"visits": b"crash-hospital-3c1f9e", "findings": b"crash-laboratory-88ab02"}
CODE = "SELECT v.note, f.word FROM visits v JOIN findings f USING (id) ORDER BY v.note"


@pytest.fixture(scope="module")
def installation(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crash")
    passphrases = dict.fromkeys(("Hospital", "Laboratory", "anna", "ben", "lea"), "a passphrase of tests")
    with Installation(folder / "home", enclave_runtime, passphrases) as installation:
        for owner, name, column in (("anna", "visits", "note"), ("lea", "findings", "word")):
            source = folder / f"{name}.csv"
            source.write_text("\n".join([f"id,{column}", *(f"{row},{VALUES[name].decode()}-{row}" for row in range(30))]))
            installation.add_data(owner, name, source)
        yield installation


@pytest.fixture(scope="module")
def job(installation):
    return installation.approved_job(Language.SQL, CODE)


def said(path: Path) -> list[dict]:
    """Give the worker's own lines."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def alive(pids: dict[int, str]) -> list[int]:
    return [pid for pid, born in pids.items() if birth(pid) == born]


def birth(pid: int) -> str:
    """Give when a process was started; empty if it is gone or dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def releases(installation: Installation, run_id: str) -> list[int]:
    query = "SELECT count(*) FROM releases WHERE run_id = ?"
    return [installation.broker_rows(name, query, run_id)[0][0] for name in installation.organisations]


def later(installation: Installation, **span: float):
    """Give services whose clock is ahead, as housekeeping has it once a lease is over."""
    moment = datetime.now(UTC) + timedelta(**span)
    return open_services(installation.settings, now=lambda: moment, runtime=lambda: installation.runtime)


class Crashed:
    """A run one of whose processes was killed, and what was there at that moment."""

    def __init__(self, installation: Installation, job, folder: Path, victim: str, word: str) -> None:
        self.installation = installation
        self.run_id = installation.queued_run(job).id
        path = folder / "said"
        worker = installation.carry_out(self.run_id, victim, word, said=path)
        self.exit_code = worker.wait(300)
        self.inside = {int(pid): born for line in said(path) for pid, born in line.get("inside", {}).items() if born}
        self.final = installation.settings.result_dir(self.run_id)

    def end(self) -> None:
        """Close what nobody carries on, once its lease is over."""
        services = later(self.installation, minutes=5)
        services.runs.reconcile({})
        services.close()


def check_published(installation: Installation, run_id: str, final: Path) -> None:
    """Check that what is published is a whole result with a receipt that holds."""
    view = installation.view(run_id)
    rows = open_real_result(view, final, installation.sealing["Hospital"], workspace_id=installation.workspace_id).table()
    assert rows.num_rows == 30
    context = installation.services.runs.receipt(run_id, actor=installation.members["lea"].id)
    verify_receipt(
        context.receipt,
        spec_bytes=context.spec_bytes,
        bundle_bytes=context.bundle_bytes,
        inputs=context.inputs,
        refreshed=context.refreshed,
        folder=final,
        trust=own_trust(installation.settings),
    )


@pytest.mark.parametrize(("victim", "word"), CASES)
def test_run_whose_process_is_killed_leaves_nothing_and_ends_truly(installation, job, tmp_path, victim, word):
    crashed = Crashed(installation, job, tmp_path, victim, word)
    assert crashed.exit_code == (-signal.SIGKILL if victim == "worker" else 0)
    assert crashed.inside or word == "committed"  # the sandbox has ended by then

    deadline = time.monotonic() + LEASE_S
    while alive(crashed.inside):
        assert time.monotonic() < deadline, "a process of the sandbox outlived its lease"
        time.sleep(0.1)

    state = installation.view(crashed.run_id).state
    assert state is (RunState.RUNNING if victim == "worker" else state)
    crashed.end()
    view = installation.view(crashed.run_id)
    if view.state is RunState.SUCCEEDED:  # the last word of an agent that had sealed everything
        assert (victim, word) == ("agent", "sealing")
        check_published(installation, crashed.run_id, crashed.final)
    else:
        assert view.state is RunState.FAILED
        assert (view.reason == "worker-lost") is (victim == "worker")
        assert not crashed.final.exists()
    assert [path.name for path in installation.settings.results_dir.glob(".*")] == []

    assert max(releases(installation, crashed.run_id)) <= 1
    with pytest.raises(ConflictError):
        execute(installation.services, crashed.run_id, cores=1, memory_bytes=1 << 30)
    assert max(releases(installation, crashed.run_id)) <= 1
    secrets = Secrets.of(VALUES)
    assert secrets.in_tree(installation.home, tmp_path) == {}


def test_run_after_the_crashes_gives_the_whole_result(installation, job, tmp_path):
    run = installation.queued_run(job)
    path = tmp_path / "said"
    assert installation.carry_out(run.id, said=path).wait(300) == 0
    assert said(path)[-1]["state"] == "succeeded"
    check_published(installation, run.id, installation.settings.result_dir(run.id))
    assert releases(installation, run.id) == [1, 1]
