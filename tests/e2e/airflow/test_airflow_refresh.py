"""A refresh of a data set, told to a real Airflow as an asset event, starts the run that the members approved, and only then."""

import time
from dataclasses import replace

import pytest

from opaque_jobs.airflow.logins import ADMIN_LOGIN, HOUSEKEEPING_LOGIN
from opaque_jobs.airflow.reconcile import Housekeeping
from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.domain.run import Trigger
from tests.e2e.airflow.conftest import TERMS

pytestmark = pytest.mark.airflow


def refresh(cast, version):
    cast.clock.forward(seconds=1)
    manifest, folder = cast.manifest("findings", "lea", version=version)
    cast.services.datasets.add_version(
        actor=cast.id("lea"), envelope=sign_manifest(manifest, cast.people["lea"].key), storage=folder
    )


def wait_for_runs(cast, job_id, count, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while len(found := cast.services.runs.history(job_id, actor=cast.id("anna"))) < count:
        assert time.monotonic() < deadline, "no run was recorded"
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def job_id(new_job, approve, as_person):
    terms = replace(TERMS, variable_inputs=(), follows=("findings",), on_refresh=True)
    job = new_job(rerun_terms=terms)
    approve(job.id)
    as_person("anna").wait_for_dag(job.id, tag="accepted")
    return job.id


def dag_runs_of(client, job_id):
    """Give DAG run id -> state: other tests' jobs have runs in this Airflow too."""
    return {run: state for (job, run), state in client.dag_run_states().items() if job == job_id}


@pytest.fixture(scope="module")
def housekeeping(cast, stack):
    return Housekeeping(services=cast.services, address=stack.address)


def keep_house(housekeeping, timeout_s=60.0):
    """Go on until Airflow was told of a refresh."""
    deadline = time.monotonic() + timeout_s
    while not (told := housekeeping.once().refreshed):
        assert time.monotonic() < deadline, "nothing was told"
        time.sleep(0.5)
    return told


def test_refresh_starts_a_run_that_nobody_asked_for(cast, job_id, housekeeping):
    assert housekeeping.once().refreshed == ()
    refresh(cast, 2)
    assert keep_house(housekeeping) == (("ds-findings", 2),)
    (run,) = wait_for_runs(cast, job_id, 1)
    assert (run.trigger, run.actor) == (Trigger.ASSET, None)
    assert housekeeping.once().refreshed == ()


def test_event_without_a_refresh_opens_no_run(cast, job_id, stack, as_person):
    client = as_person("ben")
    (first,) = dag_runs_of(client, job_id)
    client.wait_for(job_id, first, timeout_s=90)
    settings = cast.services.context.settings
    with AirflowRest.as_login(settings, stack.address, HOUSEKEEPING_LOGIN) as housekeeper:
        assert housekeeper.announce_refresh("ds-findings")
    deadline = time.monotonic() + 90
    while len(states := dag_runs_of(client, job_id)) < 2 or set(states.values()) & {"queued", "running"}:
        assert time.monotonic() < deadline, states
        time.sleep(0.5)
    assert states[next(each for each in states if each != first)] == "failed"
    assert len(cast.services.runs.history(job_id, actor=cast.id("anna"))) == 1


@pytest.mark.parametrize("name", ["anna", "lea", "mallory", ADMIN_LOGIN])
def test_nobody_else_can_tell_of_refreshes(job_id, as_person, name):
    client = as_person(name)._client
    assert client.post("/api/v2/assets/events", json={"asset_id": 1, "extra": {}}).status_code == 403
    assert client.post("/api/v2/assets/1/materialize").status_code == 403
    assert client.get("/api/v2/assets").status_code == (200 if name == ADMIN_LOGIN else 403)
    assert job_id
