import importlib.util
import runpy
from pathlib import Path

from opaque_jobs.airflow.dags import build_dag
from opaque_jobs.airflow.ids import GATE_TASK, RUN_TASK, dag_id_of

ROOT = Path(__file__).parents[3]


def test_plain_folder_shim_builds_every_job(study):
    accepted, waiting = study.accepted_job(), study.make_job(name="Second")
    study.submit(waiting.id)
    namespace = runpy.run_path(str(ROOT / "dags" / "opaque_jobs_dags.py"))
    assert {name for name in namespace if name.startswith("opaque-jobs.")} == {dag_id_of(accepted.id), dag_id_of(waiting.id)}


def test_worked_example_of_a_template_extends_the_dag(study):
    job = study.accepted_job()
    spec = importlib.util.spec_from_file_location("extended_template", ROOT / "dags" / "extended_template.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag = build_dag(job_id=job.id, revision=1, template=module.NotifyingTemplate())
    assert list(dag.topological_sort())[1:3] == [dag.task_dict[GATE_TASK], dag.task_dict[RUN_TASK]]


def test_shims_do_not_take_the_packages_name():
    # Airflow imports plugin files by their bare name and puts both folders on the import path.
    assert not [path for folder in ("dags", "plugins") for path in (ROOT / folder).glob("opaque_jobs.py")]
