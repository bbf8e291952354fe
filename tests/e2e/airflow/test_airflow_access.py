"""Airflow's own routes, walked by everybody who should not get far."""

import json
import re
import subprocess
import sys

import httpx
import pytest

from opaque_jobs.airflow.ids import GATE_TASK, dag_id_of, job_id_of
from opaque_jobs.airflow.logins import ADMIN_LOGIN, HOUSEKEEPING_LOGIN, ensure_logins
from opaque_jobs.airflow.rest import AirflowRest

pytestmark = pytest.mark.airflow

CANARY = "canary-5d1e77"
OPEN_TO_ALL = {"/api/v2/monitor/health", "/api/v2/version"}
"""What Airflow itself shows to anybody: states of its processes, its version."""
OUTSIDERS = ("mallory", ADMIN_LOGIN)


@pytest.fixture(scope="module")
def secret_run(as_person, new_job, approve):
    """An ended run of an accepted job, with a canary as its name, in its inputs, and in its id."""
    job = new_job(name=CANARY)
    approve(job.id)
    anna = as_person("anna")
    anna.wait_for_dag(job.id, tag="accepted")
    dag_run_id = anna.trigger(job.id, inputs={"label": CANARY}, dag_run_id="secret-run")
    anna.wait_for(job.id, dag_run_id, timeout_s=120)
    return job.id, dag_run_id


LIST_ROUTES = """
import json
from airflow.api_fastapi.core_api.routes.public import public_router
from airflow.api_fastapi.core_api.routes.ui import ui_router
print(json.dumps([[m, r.path] for router in (public_router, ui_router) for r in router.routes for m in r.methods]))
"""


@pytest.fixture(scope="module")
def routes(stack):
    """Every (method, path) of Airflow's REST interface and of what its pages call."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIST_ROUTES],
        env=stack.home.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found = {(method, path) for method, path in json.loads(done.stdout.splitlines()[-1])}
    found -= {("GET", "/api/v2/auth/logout")}  # it would end the log-ins of these tests
    assert len(found) > 150
    return sorted(found)


def filled(path, secret_run):
    job_id, dag_run_id = secret_run
    values = {
        "dag_id": dag_id_of(job_id),
        "dag_run_id": dag_run_id,
        "task_id": GATE_TASK,
        "try_number": "1",
        "run_id": dag_run_id,
    }
    return re.sub(r"\{(\w+)[^}]*\}", lambda found: values.get(found[1], "1"), path)


def send(client, method, path):
    return client._client.request(method, path, **({} if method in ("GET", "DELETE") else {"json": body_for(method, path)}))


def body_for(method, path):
    """Airflow reads the body of its bulk routes before it asks who may; so they need a right one."""
    if path.endswith("/clearDagRuns"):
        return {"dag_runs": [{"dag_run_id": "secret-run"}], "dry_run": True}
    if method == "PATCH" and path.endswith("/dagRuns"):
        return {"actions": [{"action": "update", "entities": [{"dag_run_id": "secret-run", "state": "failed"}]}]}
    return {}


def test_anonymous_gets_nowhere(stack, routes, secret_run):
    answers = {}
    for method, path in routes:
        content = {} if method in ("GET", "DELETE") else {"json": {}}
        answer = httpx.request(method, stack.address + filled(path, secret_run), **content)
        answers[method, path] = answer.status_code
        assert CANARY not in answer.text
    reached = {path for (_method, path), status in answers.items() if status not in (401, 403)}
    known = {path for path in reached if path in OPEN_TO_ALL or path.startswith(("/api/v2/auth/", "/ui/auth"))}
    assert reached == known


@pytest.mark.parametrize("name", OUTSIDERS)
def test_outsider_is_refused_at_every_route_that_names_the_job(as_person, routes, secret_run, name):
    reached = {}
    for method, path in routes:
        if "{dag_id}" in path:
            answer = send(as_person(name), method, filled(path, secret_run))
            if answer.status_code != 403:
                reached[method, path] = answer.status_code
    assert reached == {}


@pytest.mark.parametrize("name", OUTSIDERS)
def test_outsider_finds_neither_name_nor_input_nor_id_at_any_route(as_person, routes, secret_run, name):
    told = []
    for method, path in routes:
        if method == "GET":
            for wild in (
                filled(path, secret_run),
                filled(path.replace("{dag_id}", "~").replace("{dag_run_id}", "~"), secret_run),
            ):
                answer = send(as_person(name), method, wild)
                if CANARY in answer.text or secret_run[0] in answer.text:
                    told.append(wild)
    assert told == []


WHAT = {
    "see": ("GET", "/api/v2/dags/{dag}"),
    "details": ("GET", "/api/v2/dags/{dag}/details"),
    "code": ("GET", "/api/v2/dagSources/{dag}"),
    "runs": ("GET", "/api/v2/dags/{dag}/dagRuns"),
    "tasks": ("GET", "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"),
    "log": ("GET", "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/" + GATE_TASK + "/logs/1"),
    "xcom": ("GET", "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/" + GATE_TASK + "/xcomEntries"),
    "trigger": ("POST", "/api/v2/dags/{dag}/dagRuns"),
    "clear": ("POST", "/api/v2/dags/{dag}/dagRuns/{run}/clear"),
    "pause": ("PATCH", "/api/v2/dags/{dag}"),
    "delete run": ("DELETE", "/api/v2/dags/{dag}/dagRuns/{run}"),
    "delete dag": ("DELETE", "/api/v2/dags/{dag}"),
    "backfill": ("POST", "/api/v2/backfills"),
}
READ = {"see", "details", "code", "runs", "tasks"}
ALLOWED = {
    "anna": READ | {"log", "xcom", "trigger", "clear", "pause", "backfill"},
    "ben": READ | {"log", "xcom"},
    "lea": READ,
    "mallory": set(),
    ADMIN_LOGIN: set(),
    HOUSEKEEPING_LOGIN: {"see", "details", "runs", "tasks"},
}


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("what", WHAT)
def test_each_role_may_do_exactly_what_the_table_says(as_person, secret_run, name, what):
    method, path = WHAT[what]
    path = path.format(dag=dag_id_of(secret_run[0]), run=secret_run[1])
    bodies = {
        "trigger": {"logical_date": None, "conf": {"floor": "not a number"}},
        "clear": {"dry_run": True},
        "pause": {"is_paused": False},
        "backfill": {"dag_id": dag_id_of(secret_run[0]), "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-01T00:00:00Z"},
    }
    answer = as_person(name)._client.request(method, path, **({"json": bodies[what]} if what in bodies else {}))
    refused = answer.status_code == 403
    assert refused is (what not in ALLOWED[name]), answer.status_code


@pytest.mark.parametrize("name", ["anna", "mallory"])
@pytest.mark.parametrize("path", ["connections", "variables", "config", "importErrors", "eventLogs", "plugins", "providers"])
def test_member_sees_nothing_of_airflows_administration(as_person, name, path):
    assert as_person(name)._client.get(f"/api/v2/{path}").status_code == 403


def test_administrator_sees_airflows_administration(as_person):
    for path in ("connections", "pools", "importErrors", "providers"):
        assert as_person(ADMIN_LOGIN)._client.get(f"/api/v2/{path}").status_code == 200


@pytest.mark.parametrize(
    "body", [("anna", ""), ("anna", "wrong"), ("", ""), (ADMIN_LOGIN, ""), ("nobody", "x"), ("Anonymous", "")]
)
@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/cli"])
def test_login_with_a_wrong_name_or_password_is_refused(stack, path, body):
    name, password = body
    assert httpx.post(stack.address + path, json={"username": name, "password": password}).status_code == 401


@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/login"])
def test_login_without_a_password_is_switched_off(stack, path):
    assert httpx.get(stack.address + path).status_code == 403


def jobs_seen(client):
    """Give the DAGs of jobs that a person sees; a platform team's own DAGs are Airflow's business."""
    dags = client._client.get("/api/v2/dags").json()["dags"]
    return [dag["dag_id"] for dag in dags if job_id_of(dag["dag_id"])]


def test_member_who_joins_while_airflow_runs_may_log_in(cast, stack):
    from consortium import make_person

    settings = cast.services.context.settings
    cast.services.workspaces.register_member(make_person("nina", "org-hospital").entry)
    ensure_logins(settings, ["nina"])
    with AirflowRest.as_login(settings, stack.address, "nina") as nina:
        assert jobs_seen(nina) == []


def test_input_value_is_in_no_log_of_airflow(cast, secret_run):
    for folder in ("airflow/task-logs", "airflow/parse-logs", "logs"):
        for path in (cast.home / folder).rglob("*"):
            assert not path.is_file() or CANARY not in path.read_text(errors="replace"), path


def test_dag_files_and_task_logs_hold_ids_only(cast, secret_run):
    text = (cast.home / "airflow/bundles/opaque-jobs/current" / f"{secret_run[0]}.py").read_text()
    assert "SELECT" not in text
    assert CANARY not in text
    for path in (cast.home / "airflow/task-logs").rglob("*.log"):
        assert "SELECT" not in path.read_text()


def test_member_who_left_the_workspace_sees_nothing_from_then_on(cast, as_person, secret_run):
    ben, path = as_person("ben"), f"/api/v2/dags/{dag_id_of(secret_run[0])}"
    assert ben._client.get(path).status_code == 200
    cast.change_members("anna", "lea")
    try:
        assert ben._client.get(path).status_code == 403
        assert jobs_seen(ben) == []
    finally:
        cast.change_members("anna", "ben", "lea")
