"""Runs: opening, who may, with which inputs, the gate, reconciling, and who sees what."""

from dataclasses import asdict

import pytest
from consortium import make_input

from opaque_jobs.domain.inputs import Constraint, ConstraintKind
from opaque_jobs.domain.lifecycle import RUN, RunEvent, RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import Trigger
from opaque_jobs.domain.workspace import RunPolicy
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError


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


def test_same_attempt_gives_the_same_run(study):
    job = study.accepted_job()
    first = study.open_run(job.id, dag_run_id="manual__a")
    assert study.open_run(job.id, dag_run_id="manual__a").id == first.id
    assert study.open_run(job.id, dag_run_id="manual__a", attempt=2).id != first.id


def test_same_attempt_of_another_revision_is_refused(study):
    job = study.accepted_job()
    study.open_run(job.id, dag_run_id="manual__a")
    with pytest.raises(ConflictError):
        study.open_run(job.id, revision=2, dag_run_id="manual__a")


def test_dag_run_of_the_same_name_in_another_job_is_another_run(study):
    runs = {study.open_run(study.accepted_job().id, dag_run_id="scheduled__1").id for _ in range(2)}
    assert len(runs) == 2


@pytest.mark.parametrize("name", ["ben", "lea", "mallory"])
def test_run_by_somebody_whom_the_policy_does_not_name_is_denied(study, name):
    job = study.accepted_job()
    with pytest.raises(DeniedError):
        study.open_run(job.id, actor=study.id(name))


def test_run_policies_name_who_may_run(cast):
    cast.workspace_id = cast.make_workspace("anna", "ben", "lea", run_policy=RunPolicy.NAMED_MEMBERS, runners=[cast.id("lea")])
    cast.make_dataset("patients", "anna")
    job = cast.accepted_job()
    assert cast.open_run(job.id, actor=cast.id("lea")).state is RunState.QUEUED
    with pytest.raises(DeniedError):
        cast.open_run(job.id, actor=cast.id("anna"))


@pytest.mark.parametrize("trigger", list(Trigger))
def test_run_that_nobody_asked_for_needs_an_approved_schedule(study, trigger):
    plain, scheduled = study.accepted_job(), study.accepted_job(rerun_terms=make_terms(schedule="@daily"))
    with pytest.raises(DeniedError):
        study.open_run(plain.id, actor=None, trigger=trigger)
    if trigger in (Trigger.MANUAL, Trigger.ASSET):
        with pytest.raises(DeniedError):
            study.open_run(scheduled.id, actor=None, trigger=trigger)
    else:
        assert study.open_run(scheduled.id, actor=None, trigger=trigger).actor is None


def test_inputs_take_defaults_and_are_recorded(study):
    low = ((Constraint(kind=ConstraintKind.MIN, value=0),),)
    inputs = (make_input(name="a", constraints=low), make_input(name="b", default=2))
    job = study.accepted_job(inputs=inputs, rerun_terms=make_terms(variable_inputs=("a",)))
    assert study.open_run(job.id, inputs={"a": 9}).inputs == {"a": 9, "b": 2}
    assert study.open_run(job.id, inputs={}).inputs == {"a": 5, "b": 2}
    assert study.open_run(job.id, inputs={"b": 2}).inputs == {"a": 5, "b": 2}
    for wrong in ({"a": -1}, {"a": "9"}, {"b": 3}, {"c": 1}):
        with pytest.raises(InvalidInputError):
            study.open_run(job.id, inputs=wrong)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda cast, job: cast.vote(job, "ben", Decision.REJECT), "rejected"),
        (lambda cast, job: cast.withdraw(job, "lea"), "withdrawn"),
        (lambda cast, job: cast.cancel_review(job), "review-cancelled"),
        (lambda cast, _job: cast.change_members("anna", "ben", "lea", "mallory"), "superseded"),
        (lambda cast, job: cast.services.jobs.archive(job, actor=cast.id("anna")), "archived"),
        (lambda cast, _job: cast.services.workspaces.archive(cast.workspace_id, actor=cast.id("ben")), "archived"),
    ],
)
def test_waiting_run_is_refused_with_the_reason(study, spoil, word):
    job = study.make_job()
    study.submit(job.id)
    run = study.open_run(job.id)
    spoil(study, job.id)
    assert study.services.deployments.gate_states([run.id, "run-unknown"]) == {run.id: word, "run-unknown": "unknown"}
    with pytest.raises(ConflictError) as caught:
        study.services.runs.start(run.id)
    assert caught.value.facts["word"] == word
    with pytest.raises(ConflictError):
        study.open_run(job.id)


def test_waiting_run_does_not_start(study):
    job = study.make_job()
    study.submit(job.id)
    run = study.open_run(job.id)
    with pytest.raises(ConflictError):
        study.services.runs.start(run.id)


@pytest.mark.parametrize("start", [False, True])
def test_unsharing_stops_waiting_and_running_runs_at_once(study, start):
    job = study.accepted_job()
    run = study.open_run(job.id)
    if start:
        study.services.runs.start(run.id)
    stopped = study.share("ds-findings", "lea", back=True)
    assert stopped == (run.id,)
    assert study.services.runs.show(run.id, actor=study.id("anna")).reason == "dataset-unshared"
    assert not study.services.runs.renew_lease(run.id)
    assert study.services.deployments.gate_states([f"{job.id}@1"]) == {f"{job.id}@1": "dataset-unshared"}
    with pytest.raises(ConflictError):
        study.open_run(job.id)


def test_lease_counts_only_runs_that_asked_for_keys(study):
    job = study.accepted_job()
    for _ in range(2):
        run = study.open_run(job.id)
        study.services.runs.start(run.id)
        study.services.runs.fail(run.id, reason="sandbox-unavailable")
    run = study.open_run(job.id)
    waiting = study.open_run(job.id)
    study.services.runs.start(run.id)
    study.services.runs.note_key_request(run.id)
    with pytest.raises(ConflictError):
        study.open_run(job.id)
    with pytest.raises(ConflictError) as caught:
        study.services.runs.start(waiting.id)
    assert caught.value.facts["word"] == "lease-refused"


def test_lease_ends_with_its_last_day(study):
    job = study.accepted_job(rerun_terms=make_terms())
    assert study.open_run(job.id).state is RunState.QUEUED
    study.clock.forward(days=400)
    with pytest.raises(ConflictError):
        study.open_run(job.id)


def test_renewed_lease_moves_and_a_closed_run_is_not_renewed(study):
    run = study.open_run(study.accepted_job().id)
    assert not study.services.runs.renew_lease(run.id)
    study.services.runs.start(run.id)
    assert study.services.runs.renew_lease(run.id, progress="computing")
    assert study.services.runs.show(run.id, actor=study.id("lea")).progress == "computing"
    study.services.runs.cancel(run.id, actor=study.id("anna"))
    assert not study.services.runs.renew_lease(run.id)
    with pytest.raises(ConflictError):
        study.services.runs.note_key_request(run.id)


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("event", list(RunEvent))
def test_run_event_in_the_store_follows_the_table(study, state, event):
    run = study.open_run(study.accepted_job().id)
    paths = {
        "queued": [],
        "running": [RunEvent.START],
        "succeeded": [RunEvent.START, RunEvent.SUCCEED],
        "failed": [RunEvent.FAIL],
        "cancelled": [RunEvent.CANCEL],
    }
    for step in paths[state]:
        study.finish(run.id, step)
    if (state, event) in RUN.table:
        study.finish(run.id, event)
        assert study.services.runs.show(run.id, actor=study.id("anna")).state is RUN.table[state, event]
    else:
        with pytest.raises(ConflictError):
            study.finish(run.id, event)
        assert study.services.runs.show(run.id, actor=study.id("anna")).state is state


@pytest.mark.parametrize("name", ["ben", "lea"])
def test_cancelling_by_somebody_who_may_not_run_is_denied(study, name):
    run = study.open_run(study.accepted_job().id)
    with pytest.raises(DeniedError):
        study.services.runs.cancel(run.id, actor=study.id(name))
    with pytest.raises(NotFoundError):
        study.services.runs.cancel(run.id, actor=study.id("mallory"))


def test_unknown_word_for_a_failure_is_refused(study):
    run = study.open_run(study.accepted_job().id)
    with pytest.raises(InvalidInputError):
        study.services.runs.fail(run.id, reason="the value was 42")


def test_reconcile_closes_what_airflow_has_ended_and_what_lost_its_lease(study):
    job = study.accepted_job(rerun_terms=make_terms(max_runs=9))
    ended, running, lost, waiting = (study.open_run(job.id, dag_run_id=name) for name in ("e", "r", "l", "w"))
    for run in (running, lost):
        study.services.runs.start(run.id)
    study.clock.forward(seconds=61)
    study.services.runs.renew_lease(running.id)
    stray = study.services.context.settings.result_dir(lost.id)
    stray.mkdir(parents=True)
    states = {(job.id, "e"): "failed", (job.id, "r"): "running", (job.id, "l"): "running", ("job-other", "w"): "failed"}
    closed = study.services.runs.reconcile(states)
    assert {(each.run_id, each.reason) for each in closed} == {(ended.id, "airflow-ended"), (lost.id, "worker-lost")}
    assert not stray.exists()
    assert study.services.runs.show(waiting.id, actor=study.id("anna")).state is RunState.QUEUED
    assert study.services.runs.reconcile(states) == []


def test_reconcile_names_a_run_that_was_skipped_by_hand(study):
    job = study.accepted_job(rerun_terms=make_terms(max_runs=9))
    skipped = study.open_run(job.id, dag_run_id="s")
    assert [(each.run_id, each.reason) for each in study.services.runs.reconcile({(job.id, "s"): "success"})] == [
        (skipped.id, "skipped")
    ]


def test_running_run_is_closed_as_lost_once_its_lease_is_over_and_not_before(study):
    run = study.open_run(study.accepted_job(rerun_terms=make_terms()).id)
    runs = study.services.runs
    assert runs.close_if_lost(run.id).state is RunState.QUEUED
    runs.start(run.id)
    study.clock.forward(seconds=59)
    assert runs.close_if_lost(run.id).state is RunState.RUNNING
    study.clock.forward(seconds=1)
    lost = runs.close_if_lost(run.id)
    assert (lost.state, lost.reason) == (RunState.FAILED, "worker-lost")
    assert runs.close_if_lost(run.id) == lost


@pytest.mark.parametrize(("max_runs", "asked", "again"), [(1, False, True), (1, True, False), (2, True, True)])
def test_run_after_a_lost_one_is_for_the_rerun_terms_to_allow(study, max_runs, asked, again):
    job = study.accepted_job(rerun_terms=make_terms(max_runs=max_runs))
    lost = study.open_run(job.id)
    study.services.runs.start(lost.id)
    if asked:
        study.services.runs.note_key_request(lost.id)
    study.clock.forward(seconds=61)
    study.services.runs.close_if_lost(lost.id)
    if again:
        assert study.open_run(job.id, attempt=2).state is RunState.QUEUED
    else:
        with pytest.raises(ConflictError) as caught:
            study.open_run(job.id, attempt=2)
        assert caught.value.facts["reasons"] == "lease-used-up"


def test_history_is_seen_by_every_member_and_numbered(study):
    job = study.accepted_job(rerun_terms=make_terms())
    study.open_run(job.id)
    study.open_run(job.id, trigger=Trigger.CLEARED)
    history = study.services.runs.history(job.id, actor=study.id("lea"))
    assert [(run.number, run.trigger) for run in history] == [(2, Trigger.CLEARED), (1, Trigger.MANUAL)]
    assert history[0].dataset_versions == {"ds-patients": 1, "ds-findings": 1}


def test_dag_facts_hold_no_code_and_only_settable_inputs(study):
    inputs = (make_input(name="a"), make_input(name="b"))
    job = study.accepted_job(inputs=inputs, rerun_terms=make_terms(variable_inputs=("a",), schedule="@daily"))
    facts = study.services.deployments.dag_facts(job.id, 1)
    assert [each.name for each in facts.inputs] == ["a"]
    assert (facts.schedule, facts.digest) == ("@daily", study.spec(job.id).digest)
    assert "SELECT" not in str(asdict(facts))


@pytest.mark.parametrize(("name", "error"), [("ben", DeniedError), ("lea", DeniedError), ("mallory", NotFoundError)])
def test_test_of_a_draft_is_the_authors(study, name, error):
    job = study.make_job()
    with pytest.raises(error):
        study.services.runs.start_test(actor=study.id(name), job_id=job.id, inputs={})


def test_test_under_review_is_any_members_and_of_the_same_digest(study):
    job = study.make_job()
    study.submit(job.id)
    run = study.services.runs.start_test(actor=study.id("lea"), job_id=job.id, inputs={})
    assert (run.kind, run.job_digest) == ("test", study.spec(job.id).digest)


def test_test_without_test_data_is_refused(study):
    study.make_dataset("bare", "anna", test_data=False)
    with pytest.raises(ConflictError):
        study.services.runs.start_test(actor=study.id("anna"), job_id=study.make_job().id, inputs={})
