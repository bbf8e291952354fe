"""One approved run through a real Airflow: its logs, database and files hold nothing of data, keys and what the author printed.

Task logs, XCom, rendered fields, conf, the audit log and the metadata database all lie below the home.
"""

import secrets
import sqlite3
from contextlib import closing

import pytest
from installation import PEOPLE, Installation
from leak_search import ProcessWatch, Secrets

from opaque_jobs.airflow.logins import ensure_logins
from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.standalone.airflow_home import AirflowHome
from opaque_jobs.standalone.launcher import AirflowStack

pytestmark = [pytest.mark.airflow, pytest.mark.spark]

CODE = """
import sys
def main(spark, inputs, params):
    rows = inputs["visits"].collect()
    print("-".join(["loose", "{mark}"]), *rows)
    print("-".join(["loose", "{mark}"]), *rows, file=sys.stderr, flush=True)
    return inputs["visits"]
"""


def test_canary_of_a_run_through_airflow_is_in_nothing_that_airflow_keeps(enclave_runtime, runtime_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary-airflow")
    value, mark = f"hospital-{secrets.token_hex(12)}", secrets.token_hex(12)
    passphrases = {name: f"passphrase-{secrets.token_hex(12)}" for name in ("Hospital", "Laboratory", *PEOPLE)}
    source = folder / "visits.csv"
    source.write_text("\n".join(["id,note", *(f"{row},{value}-{row}" for row in range(40))]))
    home = folder / "home"
    with Installation(home, enclave_runtime, passphrases) as installation:
        (home / "runtime").symlink_to(runtime_settings.runtime_dir)
        installation.add_data("anna", "visits", source)
        named = {"data": value, "printed": f"loose-{mark}"} | {
            f"passphrase of {name}": text for name, text in passphrases.items()
        }
        searched = Secrets.of(
            {name: text.encode() for name, text in named.items()}
            | {"root key": installation.root_keys()[0].secret, "author's key": installation.signers["anna"].seed}
        )
        job = installation.approved_job(Language.PYTHON, CODE.replace("{mark}", mark))
        ensure_logins(installation.settings, PEOPLE)
        with (
            ProcessWatch(searched, every_s=0.5) as watch,
            AirflowStack(home=AirflowHome(settings=installation.settings), port=0) as stack,
            AirflowRest.as_login(installation.settings, stack.address, "anna") as airflow,
        ):
            airflow.wait_for_dag(job.id)
            airflow.wait_for(job.id, airflow.trigger(job.id, inputs={}), timeout_s=300)
        (run,) = installation.services.runs.history(job.id, actor=installation.members["anna"].id)
        assert (run.state, run.reason) == (RunState.SUCCEEDED, None)
        logs = list((home / "airflow" / "task-logs").rglob("*.log"))
        assert any(run.id in path.read_text() for path in logs)
        (database,) = (home / "airflow").glob("*.db")
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            assert connection.execute("SELECT count(*) FROM dag_run").fetchone() == (1,)
        assert searched.in_tree(home) == {}
        assert watch.found == set()
