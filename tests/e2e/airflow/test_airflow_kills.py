"""Processes that are killed while a run computes: nothing goes on unseen, and the run ends in a state that is true."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opaque_jobs.airflow.reconcile import Housekeeping
from opaque_jobs.domain.lifecycle import RunState

pytestmark = [pytest.mark.airflow, pytest.mark.spark]

PATH = "/api/v2/dags/long-session/dagRuns"


def processes():
    """Give pid -> (parent, command line) of everything that runs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(entry.name)] = (parent, (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except (OSError, ValueError):
                continue
    return found


def inside(run_id):
    return [pid for pid, (_parent, command) in processes().items() if f"stubborn-session {run_id}" in command]


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


class LongRun:
    """A run whose sandbox is up and busy."""

    def __init__(self, cast, stack, anna, job_id, number):
        self.cast, self.stack, self.anna, self.job_id = cast, stack, anna, job_id
        self.name = f"{job_id}.{number}"
        until(lambda: anna._client.get("/api/v2/dags/long-session").status_code == 200)
        answer = anna._client.post(PATH, json={"dag_run_id": self.name, "logical_date": None})
        assert answer.status_code == 200, answer.text
        until(lambda: self.view() and self.view().progress == "computing", 90)
        assert inside(self.view().id)

    def view(self):
        runs = self.cast.services.runs.history(self.job_id, actor=self.cast.id("anna"))
        return next((run for run in runs if run.dag_run_id == self.name and run.attempt == 1), None)

    def attempts(self):
        runs = self.cast.services.runs.history(self.job_id, actor=self.cast.id("anna"))
        return [run for run in runs if run.dag_run_id == self.name]

    def airflow_task(self):
        tasks = self.anna._client.get(f"{PATH}/{self.name}/taskInstances").json()["task_instances"]
        return tasks[0]["state"]

    def task_process(self):
        """Give the process of the task: the parent of the outermost process of the sandbox that is Airflow's."""
        known = processes()
        pid = min(inside(self.view().id))
        while "airflow" not in known[pid][1]:
            pid = known[pid][0]
        return pid

    def mark_failed(self):
        assert self.anna._client.patch(f"{PATH}/{self.name}", json={"state": "failed"}).status_code == 200

    def tidy_up(self):
        """Do the housekeeping, with the view of Airflow that it would have of a DAG of ours."""
        return Housekeeping(services=self.cast.services, address=self.stack.address).once()


@pytest.fixture(scope="module")
def long_job(new_job, approve, enclave_runtime, dag_folder):
    built = {"root": str(enclave_runtime.root), "measurement": enclave_runtime.measurement}
    (dag_folder / "runtime.json").write_text(json.dumps(built))
    job = new_job()
    approve(job.id)
    return job.id


@pytest.fixture
def long_run(request, cast, stack, as_person, long_job):
    return LongRun(cast, stack, as_person("anna"), long_job, request.node.name)


def test_run_marked_failed_in_airflow_ends_its_sandbox(long_run):
    long_run.mark_failed()
    until(lambda: not inside(long_run.view().id), 30)
    until(lambda: long_run.view().state in (RunState.FAILED, RunState.CANCELLED), 30)


def test_run_cancelled_by_a_member_ends_its_sandbox(cast, long_run):
    cast.services.runs.cancel(long_run.view().id, actor=cast.id("anna"))
    until(lambda: not inside(long_run.view().id), 30)
    assert long_run.view().state is RunState.CANCELLED
    until(lambda: long_run.airflow_task() == "failed")


def test_task_process_killed_takes_its_sandbox_along_and_the_run_is_tried_again(long_run):
    os.kill(long_run.task_process(), signal.SIGKILL)
    until(lambda: not inside(long_run.view().id), 30)
    second = until(lambda: next((run for run in long_run.attempts() if run.attempt == 2), None), 150)
    assert (long_run.view().state, long_run.view().reason) == (RunState.FAILED, "worker-lost")
    until(lambda: inside(second.id), 90)
    long_run.mark_failed()
    until(lambda: not inside(second.id), 30)


def test_supervisor_killed_leaves_a_run_that_housekeeping_ends(cast, long_run):
    run_id = long_run.view().id
    supervisor = processes()[long_run.task_process()][0]
    os.kill(supervisor, signal.SIGKILL)
    time.sleep(3)
    assert inside(run_id)  # Airflow has lost it, and it computes on
    cast.services.runs.reconcile({(long_run.job_id, long_run.name): "failed"})
    until(lambda: not inside(run_id), 30)
    assert (long_run.view().state, long_run.view().reason) == (RunState.FAILED, "airflow-ended")


LAUNCHER = """
import sys, time
from pathlib import Path
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.launcher import AirflowStack
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings
settings = Settings.load({"OPAQUE_JOBS_HOME": sys.argv[1]})
open_services(settings, migrate=True).close()
stack = AirflowStack(home=AirflowHome(settings=settings), port=0)
stack.up()
print("up", flush=True)
time.sleep(600)
"""


def test_launcher_killed_leaves_no_process_and_the_home_can_start_again(tmp_path):
    from opaque_jobs.settings import Settings
    from opaque_jobs.standalone.launcher import running_address

    home = tmp_path / "home"
    launcher = subprocess.Popen([sys.executable, "-W", "ignore", "-c", LAUNCHER, str(home)], stdout=subprocess.PIPE)
    assert launcher.stdout.readline() == b"up\n"
    settings = Settings.load({"OPAQUE_JOBS_HOME": str(home)})
    assert running_address(settings)
    family = {launcher.pid}
    for _generation in range(5):
        family |= {pid for pid, (parent, _command) in processes().items() if parent in family}
    launcher.kill()
    launcher.communicate()
    until(lambda: not family & set(processes()), 60)
    assert running_address(settings) is None
