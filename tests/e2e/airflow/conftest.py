"""One real Airflow for all tests of this folder, and two organisations whose jobs it knows."""

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

# Importing Airflow writes a configuration file into its home; it must not be the user's.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import open_consortium

from opaque_jobs.airflow.logins import ensure_logins
from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.inputs import InputType
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.launcher import AirflowStack

TERMS = RerunTerms(
    max_runs=50,
    not_before=None,
    not_after="2100-01-01T00:00:00+00:00",
    min_interval_s=0,
    schedule=None,
    variable_inputs=("floor", "label"),
)


@pytest.fixture(scope="session")
def cast(tmp_path_factory):
    consortium = open_consortium(tmp_path_factory.mktemp("installation") / "home")
    consortium.clock.moment = datetime.now(UTC)
    consortium.settle_in()
    yield consortium
    consortium.services.close()


@pytest.fixture(scope="session")
def dag_folder(tmp_path_factory):
    """A platform team's own folder: the DAG of long sessions."""
    folder = tmp_path_factory.mktemp("own-dags")
    shutil.copy(Path(__file__).with_name("long_session.py"), folder)
    return folder


@pytest.fixture(scope="session")
def stack(cast, dag_folder):
    settings = cast.services.context.settings
    ensure_logins(settings, cast.people)
    create_service_key(settings.simulated_key_path)
    with AirflowStack(home=AirflowHome(settings=settings, dag_folder=dag_folder), port=0) as running:
        yield running


@pytest.fixture(scope="session")
def as_person(cast, stack):
    """Give a logged-in client by name."""
    clients = {}

    def client(name):
        if name not in clients:
            clients[name] = AirflowRest.as_login(cast.services.context.settings, stack.address, name)
        return clients[name]

    yield client
    for each in clients.values():
        with suppress(Exception):
            each.close()


@pytest.fixture(scope="session")
def new_job(cast):
    """Make a job with two input variables, submitted by anna."""
    from consortium import make_input

    def make(**over):
        inputs = (make_input(), make_input(name="label", type=InputType.STRING, default="plain"))
        job = cast.make_job(**({"inputs": inputs, "rerun_terms": TERMS} | over))
        cast.submit(job.id)
        return job

    return make


@pytest.fixture(scope="session")
def approve(cast):
    """Give the votes that are still out."""

    def vote(job_id):
        for name in ("ben", "lea"):
            cast.vote(job_id, name)

    return vote
