import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from consortium import open_consortium
from postgresql import running_postgresql, why_not

from opaque_jobs.airflow.ids import GATE_TASK
from opaque_jobs.airflow.logins import ensure_logins
from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.launcher import AirflowStack

pytestmark = [pytest.mark.airflow, pytest.mark.long]


@pytest.fixture
def server():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="opaque-jobs-pg-") as folder, running_postgresql(Path(folder)) as found:
        with psycopg.connect(found + "postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE ours")
            connection.execute("CREATE DATABASE airflow")
        yield found


def test_run_passes_the_gate_with_both_databases_on_postgresql(server, tmp_path):
    cast = open_consortium(tmp_path / "home", server + "ours")
    cast.clock.moment = datetime.now(UTC)
    cast.settle_in()
    job = cast.accepted_job()
    settings = cast.services.context.settings
    ensure_logins(settings, cast.people)
    with (
        AirflowStack(home=AirflowHome(settings=settings, database_url=server + "airflow"), port=0) as stack,
        AirflowRest.as_login(settings, stack.address, "anna") as anna,
    ):
        anna.wait_for_dag(job.id, tag="accepted")
        over = anna.wait_for(job.id, anna.trigger(job.id, inputs={}), timeout_s=180)
    assert over.tasks[GATE_TASK] == "success"
    cast.services.close()
