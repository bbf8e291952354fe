"""Approved queries of TPC-H through a real Airflow, from the vote that opens the gate to the opened result and the receipt.

Nothing on the way is replaced: generated DAG, gate, operator, key brokers in processes of their own, sandbox, Spark. Three
queries in the normal test command, all 22 in the long mode (`-m long`).
"""

import secrets

import pytest

from opaque_jobs.airflow.ids import GATE_TASK, RUN_TASK
from opaque_jobs.airflow.logins import ensure_logins
from opaque_jobs.cli.demo_steps import verify_for
from opaque_jobs.cli.running import find_run
from opaque_jobs.client.results import open_log, open_real_result
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.errors import DeniedError, TrustError
from opaque_jobs.standalone.local_session import local_session
from tests.support.installation import Installation
from tests.tpch.answers import columns_of, differences, duckdb_answer
from tests.tpch.conftest import SCALE_FACTOR
from tests.tpch.queries import OWNERS, QUERIES
from tests.tpch.sealed_tpch import generate

pytestmark = [pytest.mark.airflow, pytest.mark.spark]

PEOPLE = {"nora": "Retailer", "otto": "Retailer", "pia": "Wholesaler"}
"""Nora is the author. Her organisation owns orders and lineitem, pia's the rest."""
OWNING = {"a": "nora", "b": "pia"}
FEW = (1, 3, 13)
"""Sums of decimals over one owner's table; the first rows of a join of both; an outer join of both."""
NUMBERS = [*FEW, *(pytest.param(number, marks=pytest.mark.long, id=f"{number}-long") for number in sorted(QUERIES))]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("tpch"), scale_factor=SCALE_FACTOR)


@pytest.fixture(scope="module")
def trade(cast, stack, tables, enclave_runtime, runtime_settings):
    """Give two more organisations in the home whose Airflow runs already; each has encrypted and shared its tables."""
    built = cast.home / "runtime"
    built.symlink_to(runtime_settings.runtime_dir)
    passphrases = {name: secrets.token_hex(12) for name in (*PEOPLE, *PEOPLE.values())}
    with Installation(cast.home, enclave_runtime, passphrases, PEOPLE) as installation:
        for table, owner in OWNERS.items():
            installation.add_data(OWNING[owner], table, tables / f"{table}.parquet", rows=0)
        ensure_logins(installation.settings, PEOPLE)
        yield installation
    built.unlink()


@pytest.fixture(scope="module")
def run_of(trade, as_person):
    """Give a query's run, carried out when it is first asked for."""
    done = {}

    def carry_out(number):
        if number not in done:
            done[number] = run_through_airflow(trade, as_person("nora"), QUERIES[number])
        return done[number]

    return carry_out


def run_through_airflow(trade, nora, query):
    """Ask Airflow for a run while pia's vote is out, and let her vote open the gate."""
    columns = {table: columns_of(query, [each.name for each in trade.datasets[table].columns]) for table in query.tables}
    job = trade.submitted_job(Language.SQL, query.sql(scale_factor=SCALE_FACTOR), columns)
    trade.approve(job, "otto")
    nora.wait_for_dag(job.id)
    dag_run_id = nora.trigger(job.id, inputs={})
    run = find_run(local_session(trade.services, trade.author), job_id=job.id, dag_run_id=dag_run_id)
    assert trade.services.deployments.gate_states([run.id]) == {run.id: "waiting"}
    assert nora.dag_run(job.id, dag_run_id).enclave_task is None
    assert not trade.settings.result_dir(run.id).exists()
    trade.approve(job, "pia")
    ended = nora.wait_for(job.id, dag_run_id, timeout_s=300)
    run = trade.view(run.id)
    assert (run.state, run.reason, run.reasons) == (RunState.SUCCEEDED, None, ())
    assert ended.tasks == {GATE_TASK: "success", RUN_TASK: "success"}
    return run


@pytest.mark.parametrize("number", NUMBERS)
def test_tpch_query_through_airflow_gives_its_author_the_answer_of_duckdb(trade, tables, run_of, number):
    run = run_of(number)
    folder = trade.services.runs.result_folder(run.id, actor=trade.author.id)
    opened = open_real_result(run, folder, trade.sealing["Retailer"], workspace_id=trade.workspace_id)
    got = [tuple(row.values()) for row in opened.table().to_pylist()]
    wanted = duckdb_answer(QUERIES[number], tables, scale_factor=SCALE_FACTOR)
    assert differences(QUERIES[number], wanted, got) == ""


@pytest.mark.parametrize("number", NUMBERS)
def test_receipt_of_a_query_through_airflow_holds_for_all_and_names_the_owners_that_released(trade, run_of, number):
    run = run_of(number)
    read = QUERIES[number].tables
    owners = {PEOPLE[OWNING[OWNERS[table]]] for table in read}
    for name in PEOPLE:
        report = verify_for(trade, run, name)
        assert [step.problem for step in report.steps] == [""] * 8
        assert report.receipt.run_id == run.id
        assert set(report.receipt.manifests) == set(read)
        assert {each.organisation_id for each in report.receipt.evidence} == {trade.organisations[o].entry.id for o in owners}
    for organisation in set(PEOPLE.values()):
        released = trade.broker_rows(organisation, "SELECT dataset_id FROM released_datasets WHERE run_id = ?", run.id)
        owned = {trade.datasets[table].id for table in read if PEOPLE[OWNING[OWNERS[table]]] == organisation}
        assert {dataset for (dataset,) in released} == owned


@pytest.mark.parametrize("number", NUMBERS)
def test_result_of_a_query_through_airflow_is_refused_to_the_other_organisation(trade, run_of, number):
    run = run_of(number)
    with pytest.raises(DeniedError):
        trade.services.runs.result_folder(run.id, actor=trade.members["pia"].id)
    folder, key = trade.settings.result_dir(run.id), trade.sealing["Wholesaler"]
    for opening in (open_real_result, open_log):
        with pytest.raises(TrustError):
            opening(run, folder, key, workspace_id=trade.workspace_id)
        opening(run, folder, trade.sealing["Retailer"], workspace_id=trade.workspace_id)
