"""The services' main path on PostgreSQL, with the gate read the way Airflow's triggerer reads it."""

import tempfile
from pathlib import Path

import pytest
from consortium import open_consortium
from postgresql import running_postgresql, why_not

from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.services import gate_reader


@pytest.fixture(scope="module")
def address():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="opaque-jobs-pg-") as folder, running_postgresql(Path(folder)) as found:
        yield found + "postgres"


async def test_path_to_a_running_run_holds_on_postgresql(address, tmp_path):
    cast = open_consortium(tmp_path / "home", address)
    cast.settle_in()
    job = cast.make_job()
    cast.submit(job.id, test_run_id=cast.passed_test(job.id))
    run = cast.open_run(job.id)
    reader = gate_reader(cast.services.context.settings)
    try:
        assert await reader([run.id, f"{job.id}@1"]) == {run.id: "waiting", f"{job.id}@1": "waiting"}
        cast.vote(job.id, "ben")
        cast.vote(job.id, "lea")
        assert await reader([run.id]) == {run.id: "open"}
        assert cast.services.runs.start(run.id).state is RunState.RUNNING
        cast.change_members("anna", "ben", "lea", "mallory")
        assert await reader([f"{job.id}@1", "run-x"]) == {f"{job.id}@1": "superseded", "run-x": "unknown"}
        assert cast.services.runs.cancel(run.id, actor=cast.id("anna")).state is RunState.CANCELLED
        assert await reader([run.id]) == {run.id: "run-closed"}
    finally:
        await reader.close()
        cast.services.close()
