import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import AssetAny
from airflow.serialization.serialized_objects import DagSerialization

from opaque_jobs.airflow.access import use_services
from opaque_jobs.airflow.dags import PlainTemplate, build_all, build_dag
from opaque_jobs.airflow.ids import GATE_TASK, RUN_TASK
from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.reasons import in_words
from opaque_jobs.errors import ConfigurationError, NotFoundError
from opaque_jobs.protocol.views import DagFacts

ACCEPTED = datetime(2026, 1, 15, 12, tzinfo=UTC)


def make_input(**over):
    values = {"name": "minimum", "type": InputType.INTEGER, "description": "Smallest", "default": 3, "sensitive": False}
    limits = ((Constraint(kind=ConstraintKind.MIN, value=1), Constraint(kind=ConstraintKind.MAX, value=9)),)
    return InputVariable(**(values | {"constraints": limits} | over))


def make_facts(**over):
    values = {
        "job_id": "job-a",
        "revision": 1,
        "digest": "sha256:0",
        "workspace_id": "ws-1",
        "status": JobStatus.ACCEPTED,
        "display_name": "Overlap",
        "tags": ("accepted", "opaque-jobs"),
        "inputs": (make_input(), make_input(name="day", type=InputType.DATETIME, default=None, constraints=())),
        "schedule": None,
        "runs_on_refresh_of": (),
        "accepted_at": ACCEPTED,
        "not_before": None,
        "not_after": None,
        "max_runs": 1,
        "timeout_s": 60,
        "lease_over": None,
        "description": "Counts overlaps",
        "author": "anna",
        "workspace": "Study",
    }
    return DagFacts(**(values | over))


class Deployments:
    """Facts of a few jobs, as the service gives them."""

    def __init__(self, *facts):
        self.facts = {(each.job_id, each.revision): each for each in facts}

    def dag_facts(self, job_id, revision):
        if (job_id, revision) not in self.facts:
            raise NotFoundError("no such revision", hint="-")
        return self.facts[job_id, revision]

    def deployable(self):
        known = [SimpleNamespace(job_id=job, revision=rev, status=f.status, marker="m") for (job, rev), f in self.facts.items()]
        return [*known, SimpleNamespace(job_id="job-broken", revision=1, status=JobStatus.ACCEPTED, marker="m")]


@pytest.fixture
def jobs():
    def put(*facts):
        use_services(SimpleNamespace(deployments=Deployments(*facts)))

    put(make_facts())
    return put


def serialised(dag):
    return json.dumps(DagSerialization.to_dict(dag), sort_keys=True, default=str)


def test_dag_of_a_revision_waits_and_then_runs(jobs):
    dag = build_dag(job_id="job-a", revision=1)
    assert dag.dag_id == "opaque-jobs.job-a"
    assert dag.task_dict[RUN_TASK].upstream_task_ids == {GATE_TASK}
    assert dag.task_dict[GATE_TASK].upstream_task_ids == set()


def test_dag_built_twice_is_the_same(jobs):
    assert serialised(build_dag(job_id="job-a", revision=1)) == serialised(build_dag(job_id="job-a", revision=1))


@pytest.mark.parametrize("seed", ["1", "2"])
def test_dag_built_with_another_hash_seed_is_the_same(jobs, seed, request):
    code = (
        "import runpy, sys; m = runpy.run_path(sys.argv[1]);"
        "from types import SimpleNamespace as N; m['use_services'](N(deployments=m['Deployments'](m['make_facts']())));"
        "print(m['serialised'](m['build_dag'](job_id='job-a', revision=1)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(request.path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    here = json.loads(serialised(build_dag(job_id="job-a", revision=1)))
    there = json.loads(done.stdout.splitlines()[-1])
    for document in (here, there):
        document["dag"].pop("fileloc", None)
        document["dag"].pop("relative_fileloc", None)
    assert there == here


def test_dag_tasks_render_nothing_and_push_nothing(jobs):
    for task in build_dag(job_id="job-a", revision=1).tasks:
        assert task.template_fields == ()
        assert task.do_xcom_push is False


def test_dag_params_refuse_a_value_outside_the_constraints(jobs):
    params = build_dag(job_id="job-a", revision=1).params
    assert params.get_param("minimum").resolve(9) == 9
    with pytest.raises(ValueError, match="maximum"):
        params.get_param("minimum").resolve(10)


def test_dag_schedule_under_review_is_none(jobs):
    jobs(make_facts(schedule="0 3 * * *", inputs=(make_input(),), status=JobStatus.UNDER_REVIEW, accepted_at=None))
    assert build_dag(job_id="job-a", revision=1).schedule is None


def test_dag_schedule_when_accepted_is_the_approved_one_within_its_lease(jobs):
    end = datetime(2027, 1, 1, tzinfo=UTC)
    jobs(make_facts(schedule="0 3 * * *", inputs=(make_input(),), not_after=end))
    dag = build_dag(job_id="job-a", revision=1)
    assert dag.timetable.serialize() == {"cron": "0 3 * * *", "after": ACCEPTED.isoformat()}
    assert dag.end_date == end
    assert serialised(dag) == serialised(build_dag(job_id="job-a", revision=1))


def test_dag_of_a_scheduled_job_is_read_back_by_the_scheduler(jobs):
    jobs(make_facts(schedule="0 3 * * *", inputs=(make_input(),)))
    again = DagSerialization.from_dict(DagSerialization.to_dict(build_dag(job_id="job-a", revision=1)))
    assert again.timetable.serialize() == {"cron": "0 3 * * *", "after": ACCEPTED.isoformat()}


class Replacing(PlainTemplate):
    """A template that has the gate or the run do something else."""

    def __init__(self, task_id):
        self.task_id = task_id

    def after_run(self, facts):
        task = EmptyOperator(task_id="extra").dag.task_dict[self.task_id]
        object.__setattr__(task, "execute", lambda context: None)
        return []


@pytest.mark.parametrize("task_id", [GATE_TASK, RUN_TASK])
def test_dag_template_that_replaces_what_a_step_does_is_refused(jobs, task_id):
    with pytest.raises(ConfigurationError, match="replaces"):
        build_dag(job_id="job-a", revision=1, template=Replacing(task_id))


class Extended(PlainTemplate):
    def before_gate(self, facts):
        return [EmptyOperator(task_id="announce")]

    def after_run(self, facts):
        return [EmptyOperator(task_id="tell")]


class Bypassing(PlainTemplate):
    def after_run(self, facts):
        extra = EmptyOperator(task_id="extra")
        extra.set_downstream(extra.dag.task_dict[RUN_TASK])
        return []


def test_dag_template_adds_steps_around_the_gate(jobs):
    dag = build_dag(job_id="job-a", revision=1, template=Extended())
    assert dag.task_dict[GATE_TASK].upstream_task_ids == {"announce"}
    assert dag.task_dict["tell"].upstream_task_ids == {RUN_TASK}


def test_dag_template_that_leads_around_the_gate_is_refused(jobs):
    with pytest.raises(ConfigurationError, match="beside the approval gate"):
        build_dag(job_id="job-a", revision=1, template=Bypassing())


def test_build_all_with_a_job_that_cannot_be_built_gives_a_tombstone_and_the_others(jobs):
    jobs(make_facts(), replace(make_facts(), job_id="job-b"))
    found = {}
    build_all(found.__setitem__)
    assert set(found) == {"opaque-jobs.job-a", "opaque-jobs.job-b", "opaque-jobs.job-broken"}
    assert found["opaque-jobs.job-broken"].tasks == []
    assert len(found["opaque-jobs.job-b"].tasks) == 2


def test_build_all_for_one_task_builds_that_dag_only(jobs, monkeypatch):
    jobs(make_facts(), replace(make_facts(), job_id="job-b"))
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "opaque-jobs.job-b")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", RUN_TASK)
    found = {}
    build_all(found.__setitem__)
    assert set(found) == {"opaque-jobs.job-b"}


def test_dag_of_a_job_that_runs_on_refreshes_waits_for_any_of_its_data_sets(jobs):
    jobs(make_facts(runs_on_refresh_of=("ds-1", "ds-2"), inputs=(make_input(),)))
    dag = build_dag(job_id="job-a", revision=1)
    condition = dag.timetable.asset_condition
    assert isinstance(condition, AssetAny)
    assert [(each.name, each.uri) for each in condition.objects] == [
        ("opaque-jobs.ds-1", "opaque-jobs://data-set/ds-1"),
        ("opaque-jobs.ds-2", "opaque-jobs://data-set/ds-2"),
    ]
    assert serialised(dag) == serialised(build_dag(job_id="job-a", revision=1))


def test_dag_of_a_revision_under_review_does_not_run_on_refreshes(jobs):
    jobs(make_facts(runs_on_refresh_of=("ds-1",), status=JobStatus.UNDER_REVIEW, accepted_at=None))
    assert not isinstance(build_dag(job_id="job-a", revision=1).schedule, AssetAny)


@pytest.mark.parametrize("by", [{"schedule": "0 3 * * *"}, {"runs_on_refresh_of": ("ds-1",)}])
@pytest.mark.parametrize("over", ["lease-used-up", "lease-ended"])
def test_dag_of_a_lease_that_is_over_schedules_nothing_and_says_why(jobs, by, over):
    jobs(make_facts(inputs=(make_input(),), lease_over=over, **by))
    dag = build_dag(job_id="job-a", revision=1)
    assert dag.schedule is None
    assert in_words(over) in dag.description
    assert in_words(over) in dag.doc_md


def test_dag_names_the_author_and_says_what_the_job_is_for(jobs):
    jobs(make_facts())
    dag = build_dag(job_id="job-a", revision=1)
    assert dag.description == "Counts overlaps; by anna, revision 1"
