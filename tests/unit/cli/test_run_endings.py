"""How commands answer for runs and jobs that came to nothing: what happened, and where to look."""

import pytest

from opaque_jobs.cli.running import failed_test_log
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.standalone.local_session import local_session
from opaque_jobs.store.words import CloseReason

SHOWING = (("result", "show"), ("result", "export"))


@pytest.fixture(params=SHOWING, ids=" ".join)
def showing(request, tmp_path):
    """Give a command line that opens a run's result."""
    more = ("--to", str(tmp_path / "out")) if request.param[-1] == "export" else ()
    return lambda run_id: (*request.param, run_id, *more)


@pytest.fixture
def run(study):
    return study.open_run(study.accepted_job().id)


@pytest.fixture
def trial(study):
    return study.services.runs.start_test(actor=study.id("anna"), job_id=study.make_job().id, inputs={})


def left_log(study, folder, name):
    folder.mkdir(parents=True)
    (folder / name).write_text("it was so")


def test_result_of_a_run_that_waits_or_runs_is_to_be_waited_for(study, shell, run, showing):
    for state in ("queued", "running"):
        message = shell.fails(7, *showing(run.id))
        assert state in message
        assert f"opaque-jobs run wait {run.id}" in message
        if state == "queued":
            study.services.runs.start(run.id)


def test_result_of_a_run_that_failed_says_why_and_names_its_log(study, shell, run, showing):
    study.services.runs.start(run.id)
    study.services.runs.fail(run.id, reason=CloseReason.AUTHOR_ERROR)
    left_log(study, study.services.context.settings.result_dir(run.id), "log.sealed.json")
    message = shell.fails(7, *showing(run.id))
    assert "the run failed: author-error" in message
    assert f"opaque-jobs result log {run.id}" in message


def test_result_of_a_test_run_that_failed_names_its_log(study, shell, trial, showing):
    study.services.runs.start(trial.id)
    study.services.runs.fail(trial.id, reason=CloseReason.OUTPUT_REFUSED)
    left_log(study, study.services.context.settings.test_dir(trial.id), "log.txt")
    message = shell.fails(7, *showing(trial.id))
    assert "the run failed: output-refused" in message
    assert f"opaque-jobs result log {trial.id}" in message
    assert "it was so" in shell.says("result", "log", trial.id)


def test_test_run_that_failed_says_all_about_it_at_once(study, trial):
    study.services.runs.start(trial.id)
    study.services.runs.fail(trial.id, reason=CloseReason.AUTHOR_ERROR)
    left_log(study, study.services.context.settings.test_dir(trial.id), "log.txt")
    failed = study.services.runs.show(trial.id, actor=study.id("anna"))

    assert failed_test_log(local_session(study.services, study.people["anna"].entry), failed) == "it was so"


def test_result_of_a_run_refused_by_brokers_says_their_reasons_in_words(study, shell, run, showing):
    study.services.runs.start(run.id)
    study.services.runs.fail(run.id, reason=CloseReason.BROKER_REFUSED, reasons=["consent-withdrawn"])
    assert "a member has withdrawn consent" in shell.fails(7, *showing(run.id))


def test_result_of_a_run_that_ended_before_there_was_a_log_names_none(study, shell, run, showing):
    study.services.runs.cancel(run.id, actor=study.id("anna"))
    message = shell.fails(7, *showing(run.id))
    assert "the run was cancelled hint:" in message  # and not: cancelled
    assert "result log" not in message
    assert f"opaque-jobs run show {run.id}" in message
    assert f"opaque-jobs run show {run.id}" in shell.fails(7, "result", "log", run.id)
    assert "the run was cancelled" in shell.fails(7, "run", "wait", run.id)


def test_result_of_a_run_that_failed_is_denied_to_other_organisations_before_anything_else(study, shell, run, showing):
    study.services.runs.fail(run.id, reason=CloseReason.LEASE_REFUSED)
    shell.member = "lea"
    assert "lease-refused" not in shell.fails(6, *showing(run.id))


def test_log_of_a_run_that_is_not_over_is_to_be_waited_for(shell, run):
    assert f"opaque-jobs run wait {run.id}" in shell.fails(7, "result", "log", run.id)


def reject(study, job_id):
    study.submit(job_id)
    study.vote(job_id, "lea", Decision.REJECT)


def expire(study, job_id):
    study.submit(job_id, deadline=study.clock().replace(year=2026, month=4))
    study.clock.forward(days=60)
    study.services.reviews.expire_due()


def withdraw(study, job_id):
    study.submit(job_id)
    study.withdraw(job_id, "lea")


def supersede(study, job_id):
    study.submit(job_id)
    study.change_members("anna", "ben")


@pytest.mark.parametrize(
    ("end", "status", "again"),
    [
        (reject, JobStatus.REJECTED, "review cancel"),
        (expire, JobStatus.EXPIRED, "job revise"),
        (withdraw, JobStatus.WITHDRAWN, "job revise"),
        (supersede, JobStatus.SUPERSEDED, "job revise"),
    ],
)
def test_job_whose_consent_is_gone_is_not_started_and_says_how_to_ask_again(study, shell, end, status, again):
    job = study.make_job(name="Overlap")
    end(study, job.id)
    assert study.show(job.id).status is status
    message = shell.fails(7, "run", "start", "Overlap")
    assert status.value in message
    assert f"opaque-jobs {again} {job.id}" in message


def test_job_with_an_accepted_revision_is_started_whatever_became_of_a_later_one(study, shell):
    job = study.accepted_job(name="Overlap")
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    reject(study, job.id)
    assert (study.show(job.id).status, study.show(job.id).accepted_revision) == (JobStatus.REJECTED, 1)
    assert "opaque-jobs up" in shell.fails(3, "run", "start", "Overlap")  # it got as far as Airflow
