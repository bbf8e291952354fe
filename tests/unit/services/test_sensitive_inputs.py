"""Sensitive inputs: one value, approved with the job; no run is given one, so none passes through Airflow."""

import json

import pytest
from consortium import make_input

from opaque_jobs.domain.inputs import InputType
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.errors import InvalidInputError

CANARY = "canary-77b1"


def make_terms(*settable):
    return RerunTerms(
        max_runs=3,
        not_before=None,
        not_after="2026-12-31T00:00:00+00:00",
        min_interval_s=0,
        schedule=None,
        variable_inputs=settable,
    )


SECRET = make_input(name="secret", type=InputType.STRING, default=CANARY, sensitive=True)


@pytest.fixture
def job(study):
    return study.accepted_job(inputs=(make_input(), SECRET), rerun_terms=make_terms("floor"))


def test_sensitive_input_without_a_value_is_refused():
    with pytest.raises(InvalidInputError, match="sensitive"):
        make_input(default=None, sensitive=True)


def test_draft_that_lets_runs_set_a_sensitive_input_is_refused(study):
    with pytest.raises(InvalidInputError, match="sensitive"):
        study.draft(inputs=(SECRET,), rerun_terms=make_terms("secret"))


@pytest.mark.parametrize("value", ["other", CANARY])
def test_run_that_is_given_a_sensitive_input_is_refused_and_does_not_say_whether_it_was_right(study, job, value):
    with pytest.raises(InvalidInputError) as caught:
        study.open_run(job.id, inputs={"secret": value})
    assert value not in str(caught.value) + caught.value.hint + json.dumps(caught.value.facts)


def test_run_reads_the_approved_value_and_airflow_learns_nothing_of_it(study, job):
    run = study.open_run(job.id, inputs={"floor": 9})
    assert run.inputs == {"floor": 9, "secret": CANARY}
    facts = study.services.deployments.dag_facts(job.id, 1)
    assert [each.name for each in facts.inputs] == ["floor"]
    assert CANARY not in repr(facts)


def test_test_run_may_try_another_value(study):
    draft = study.make_job(inputs=(SECRET,), rerun_terms=make_terms())
    run = study.services.runs.start_test(actor=study.id("anna"), job_id=draft.id, inputs={"secret": "tried"})
    assert run.inputs == {"secret": "tried"}
