"""A lease that is over: its schedule ends, a refused run says why and is seen, and members see what is left."""

import pytest

from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError


def make_terms(**over):
    given = {
        "max_runs": 3,
        "not_before": None,
        "not_after": "2026-12-31T00:00:00+00:00",
        "min_interval_s": 0,
        "schedule": None,
        "variable_inputs": (),
    }
    return RerunTerms(**(given | over))


def use_a_run(study, job, name="r"):
    run = study.open_run(job.id, dag_run_id=name)
    study.services.runs.start(run.id)
    study.services.runs.note_key_request(run.id)
    return run


def facts(study, job):
    return study.services.deployments.dag_facts(job.id, 1)


def marker(study, job):
    return next(each.marker for each in study.services.deployments.deployable() if each.job_id == job.id)


def test_lease_that_is_used_up_is_told_to_airflow_by_another_marker(study):
    job = study.accepted_job(rerun_terms=make_terms(max_runs=2, schedule="0 3 * * *"))
    before = marker(study, job)
    use_a_run(study, job, "first")
    assert (facts(study, job).lease_over, marker(study, job)) == (None, before)
    use_a_run(study, job, "second")
    assert facts(study, job).lease_over == "lease-used-up"
    assert "lease-over" in facts(study, job).tags
    assert marker(study, job) != before


def test_lease_whose_time_is_over_is_told_to_airflow_by_another_marker(study):
    job = study.accepted_job(rerun_terms=make_terms(schedule="0 3 * * *"))
    before = marker(study, job)
    study.clock.forward(days=4000)
    assert facts(study, job).lease_over == "lease-ended"
    assert marker(study, job) != before


def test_run_that_the_lease_refuses_is_in_the_history_with_its_reason(study):
    job = study.accepted_job(rerun_terms=make_terms(max_runs=2))
    use_a_run(study, job, "first")
    use_a_run(study, job, "second")
    for _again in range(2):
        with pytest.raises(ConflictError, match="all approved runs are used up"):
            study.services.runs.check_start(actor=study.id("anna"), job_id=job.id, revision=1, inputs={})
    with pytest.raises(ConflictError):
        study.open_run(job.id, dag_run_id="third")
    refused = study.services.runs.history(job.id, actor=study.id("lea"))[0]
    assert (refused.dag_run_id, refused.state, refused.reason, refused.reasons) == (
        "third",
        RunState.FAILED,
        "lease-refused",
        ("lease-used-up",),
    )
    assert study.services.runs.lease(job.id, 1, actor=study.id("lea")).used == 2


def test_run_with_refused_inputs_is_in_the_history_without_their_values(study):
    job = study.accepted_job(rerun_terms=make_terms())
    with pytest.raises(InvalidInputError):
        study.open_run(job.id, inputs={"nobody": "value-4711"})
    refused = study.services.runs.history(job.id, actor=study.id("anna"))[0]
    assert (refused.state, refused.reason, refused.inputs) == (RunState.FAILED, "inputs-refused", {})


def test_start_by_somebody_who_may_not_run_is_denied_before_airflow_is_asked(study):
    job = study.accepted_job(rerun_terms=make_terms())
    with pytest.raises(DeniedError):
        study.services.runs.check_start(actor=study.id("lea"), job_id=job.id, revision=1, inputs={})
    study.services.runs.check_start(actor=study.id("anna"), job_id=job.id, revision=1, inputs={})


def test_lease_shows_what_is_used_left_and_next(study):
    job = study.accepted_job(rerun_terms=make_terms(max_runs=3, schedule="0 3 * * *"))
    use_a_run(study, job)
    lease = study.services.runs.lease(job.id, 1, actor=study.id("lea"))
    assert (lease.used, lease.left, lease.over) == (1, 2, None)
    assert lease.next_run > study.clock.moment
    assert (lease.next_run.hour, lease.next_run.minute) == (3, 0)
