import time
from pathlib import Path

import pytest

from opaque_jobs.airflow.ids import GATE_TASK, RUN_TASK
from opaque_jobs.airflow.reconcile import Housekeeping
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError, InvalidInputError
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.launcher import AirflowStack, running_address

pytestmark = pytest.mark.airflow


def wait_until_deferred(client, job_id, dag_run_id):
    deadline = time.monotonic() + 60
    while client.dag_run(job_id, dag_run_id).tasks.get(GATE_TASK) != "deferred":
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def waiting(as_person, new_job):
    """A job under review with a run that waits at the gate."""
    job = new_job()
    anna = as_person("anna")
    anna.wait_for_dag(job.id, tag="under-review")
    dag_run_id = anna.trigger(job.id, inputs={"floor": 7})
    wait_until_deferred(anna, job.id, dag_run_id)
    return job.id, dag_run_id


def history(cast, job_id):
    return cast.services.runs.history(job_id, actor=cast.id("anna"))


def task_log(cast, job_id, dag_run_id, task_id):
    folder = cast.home / "airflow" / "task-logs" / f"dag_id=opaque-jobs.{job_id}" / f"run_id={dag_run_id}" / f"task_id={task_id}"
    return "".join(path.read_text() for path in sorted(folder.glob("*.log")))


def test_run_asked_for_while_votes_are_out_waits_and_nothing_behind_the_gate_starts(cast, as_person, waiting):
    job_id, dag_run_id = waiting
    cast.vote(job_id, "ben")
    time.sleep(3)
    assert as_person("anna").dag_run(job_id, dag_run_id).tasks == {GATE_TASK: "deferred", RUN_TASK: None}
    (run,) = history(cast, job_id)
    assert (run.state, run.actor, run.inputs["floor"]) == (RunState.QUEUED, cast.id("anna"), 7)


def test_run_that_waits_passes_the_gate_with_the_last_vote(approve, as_person, waiting):
    job_id, dag_run_id = waiting
    approve(job_id)
    over = as_person("anna").wait_for(job_id, dag_run_id, timeout_s=120)
    assert over.tasks[GATE_TASK] == "success"
    assert over.enclave_task not in (None, "upstream_failed", "skipped")


def test_run_that_waits_fails_at_once_with_the_word_when_a_member_rejects(cast, as_person, waiting):
    job_id, dag_run_id = waiting
    cast.vote(job_id, "lea", Decision.REJECT)
    over = as_person("anna").wait_for(job_id, dag_run_id, timeout_s=60)
    assert over.tasks == {GATE_TASK: "failed", RUN_TASK: "upstream_failed"}
    (run,) = history(cast, job_id)
    assert (run.state, run.reason) == (RunState.FAILED, "rejected")
    assert "may not start: rejected" in task_log(cast, job_id, dag_run_id, GATE_TASK)


def test_run_that_waits_fails_at_once_when_consent_is_withdrawn(cast, as_person, waiting):
    job_id, dag_run_id = waiting
    cast.withdraw(job_id, "lea")
    over = as_person("anna").wait_for(job_id, dag_run_id, timeout_s=60)
    assert over.tasks[RUN_TASK] == "upstream_failed"
    assert history(cast, job_id)[0].reason == "withdrawn"


def test_run_that_is_cancelled_while_it_waits_ends_at_the_gate(cast, as_person, waiting):
    job_id, dag_run_id = waiting
    cast.services.runs.cancel(history(cast, job_id)[0].id, actor=cast.id("anna"))
    over = as_person("anna").wait_for(job_id, dag_run_id, timeout_s=60)
    assert over.tasks[RUN_TASK] == "upstream_failed"
    assert history(cast, job_id)[0].state is RunState.CANCELLED


def test_run_marked_failed_in_airflow_is_closed_by_housekeeping(cast, stack, as_person, waiting):
    job_id, dag_run_id = waiting
    as_person("anna").mark_failed(job_id, dag_run_id)
    closed = Housekeeping(services=cast.services, address=stack.address).once().closed
    assert history(cast, job_id)[0].id in {each.run_id for each in closed}
    assert history(cast, job_id)[0].state is RunState.FAILED


def test_run_with_an_unknown_input_is_refused_behind_the_trigger_form(cast, approve, as_person, new_job):
    job = new_job()
    approve(job.id)
    anna = as_person("anna")
    anna.wait_for_dag(job.id, tag="accepted")
    over = anna.wait_for(job.id, anna.trigger(job.id, inputs={"path": "/etc"}), timeout_s=60)
    assert over.tasks[RUN_TASK] == "upstream_failed"
    (refused,) = history(cast, job.id)
    assert (refused.state.value, refused.reason, refused.inputs) == ("failed", "inputs-refused", {})


def test_run_with_a_value_of_the_wrong_type_is_refused_by_airflow(as_person, waiting):
    with pytest.raises(InvalidInputError):
        as_person("anna").trigger(waiting[0], inputs={"floor": "many"})


def test_cleared_run_executes_the_revision_that_it_ran_before(cast, approve, as_person, new_job):
    job = new_job()
    approve(job.id)
    anna = as_person("anna")
    anna.wait_for_dag(job.id, tag="accepted")
    dag_run_id = anna.trigger(job.id, inputs={})
    anna.wait_for(job.id, dag_run_id, timeout_s=120)
    cast.services.jobs.revise(actor=cast.id("anna"), job_id=job.id)
    cast.services.jobs.edit(actor=cast.id("anna"), job_id=job.id, draft=cast.draft(description="second"))
    cast.submit(job.id)
    approve(job.id)
    second = f"revision=2)  # {next(each.marker for each in cast.services.deployments.deployable() if each.job_id == job.id)}"
    current = cast.home / "airflow/bundles/opaque-jobs/current" / f"{job.id}.py"
    deadline = time.monotonic() + 30
    while second not in current.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    anna.clear(job.id, dag_run_id)
    time.sleep(1)
    anna.wait_for(job.id, dag_run_id, timeout_s=120)
    logs = task_log(cast, job.id, dag_run_id, GATE_TASK)
    assert "of revision 1" in logs
    assert "of revision 2" not in logs


def test_second_up_of_a_running_home_is_refused_and_names_the_way_out(cast, stack):
    with pytest.raises(ConflictError, match="already running"):
        AirflowStack(home=AirflowHome(settings=cast.services.context.settings), port=0).up()
    assert running_address(cast.services.context.settings) == stack.address


def descendants():
    import os

    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, wave = [], [os.getpid()]
    while wave:
        wave = [child for parent in wave for child in children.get(parent, [])]
        found += wave
    return found


def test_airflows_processes_listen_on_loopback_only(stack):
    sockets = set()
    for pid in descendants():
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    listening = []
    for table, loopback in (("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                listening.append(fields[1].split(":")[0] == loopback)
    assert listening
    assert all(listening)


def test_airflows_files_are_readable_by_their_owner_only(cast, stack):
    for path in (cast.home / "airflow").rglob("*"):
        if path.is_file() and path.suffix in (".log", ".cfg", ".json", ".db"):
            assert path.stat().st_mode & 0o077 == 0, path
    for path in (cast.home / "logs").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_dag_failed_to_load(as_person, stack):
    assert as_person("admin@airflow").import_errors() == []
