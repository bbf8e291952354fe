import shutil

import pytest

from opaque_jobs.airflow.bundle import OpaqueJobsBundle
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import NotFoundError


@pytest.fixture
def make_bundle(study, tmp_path):
    def make(version=None):
        bundle = OpaqueJobsBundle(name="opaque-jobs", version=version)
        bundle.base_dir = tmp_path / "bundle"
        bundle.versions_dir = tmp_path / "bundle" / "versions"
        bundle._journal_path = bundle.base_dir / "journal.jsonl"
        return bundle

    return make


@pytest.fixture
def bundle(make_bundle):
    made = make_bundle()
    made.initialize()
    return made


def files(bundle):
    return sorted(path.stem for path in bundle.path.glob("*.py"))


def test_bundle_without_jobs_is_an_empty_folder(bundle):
    assert bundle.path.is_dir()
    assert files(bundle) == []


def test_bundle_after_a_submission_is_due_at_once_and_then_holds_the_job(study, bundle):
    assert bundle.refresh_interval > 60
    job = study.make_job()
    study.submit(job.id)
    assert bundle.refresh_interval == 0
    bundle.refresh()
    assert files(bundle) == [job.id]
    assert bundle.refresh_interval > 60


def test_bundle_after_the_last_vote_is_another_version(study, bundle):
    job = study.make_job()
    study.submit(job.id)
    bundle.refresh()
    under_review = bundle.get_current_version().version
    study.vote(job.id, "ben")
    bundle.refresh()
    assert bundle.get_current_version().version == under_review
    study.vote(job.id, "lea")
    bundle.refresh()
    assert bundle.get_current_version().version != under_review


def test_bundle_at_an_old_version_can_be_written_again_on_any_worker(study, bundle, make_bundle):
    job = study.accepted_job()
    bundle.refresh()
    version = bundle.get_current_version().version
    text = (bundle.path / f"{job.id}.py").read_text()
    study.services.jobs.archive(job.id, actor=study.id("anna"))
    bundle._retirement._linger_s = 0
    bundle.refresh()
    assert files(bundle) == []
    for _again in range(2):
        old = make_bundle(version)
        old.initialize()
        assert (old.path / f"{job.id}.py").read_text() == text
        assert old.get_current_version().version == version
        shutil.rmtree(old.path)


def test_bundle_at_a_version_that_never_was_is_refused(bundle, make_bundle):
    with pytest.raises(NotFoundError):
        make_bundle("7-0123456789abcdef").initialize()


def test_bundle_keeps_a_rejected_job_while_a_run_waits_at_its_gate(study, bundle):
    job = study.make_job()
    study.submit(job.id)
    run = study.open_run(job.id)
    bundle.refresh()
    study.vote(job.id, "lea", Decision.REJECT)
    bundle._retirement._linger_s = 0
    bundle.refresh()
    assert files(bundle) == [job.id]
    study.services.runs.fail(run.id, reason="rejected")
    assert bundle.refresh_interval == 0
    bundle.refresh()
    assert files(bundle) == []


def test_bundle_files_hold_no_code_and_no_name(study, bundle):
    job = study.accepted_job(name="Canary")
    bundle.refresh()
    text = (bundle.path / f"{job.id}.py").read_text()
    assert "SELECT" not in text
    assert "Canary" not in text
