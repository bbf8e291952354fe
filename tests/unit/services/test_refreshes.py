"""Jobs that follow refreshes: which version a run reads, when a refresh starts one, and what the receipt proves of it."""

from dataclasses import replace

import pytest
from simulated_agent import SimulatedAgent

from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.run import Trigger
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError
from opaque_jobs.runner.execution import execute
from opaque_jobs.services import DraftDataset
from opaque_jobs.verify.receipts import inspect_receipt
from tests.support.trust import make_trust

OTHER_COLUMNS = (Column(name="id", type="string"), Column(name="value", type="double"))


def make_terms(**over):
    given = {
        "max_runs": 5,
        "not_before": None,
        "not_after": "2026-12-31T00:00:00+00:00",
        "min_interval_s": 0,
        "schedule": None,
        "variable_inputs": (),
        "follows": ("patients",),
    }
    return RerunTerms(**(given | over))


def refresh(study, version, **over):
    manifest, folder = study.manifest("patients", "anna", version=version, **over)
    study.services.datasets.add_version(
        actor=study.id("anna"), envelope=sign_manifest(manifest, study.people["anna"].key), storage=folder
    )
    return manifest


def versions(study, run_id):
    return study.services.runs.show(run_id, actor=study.id("lea")).dataset_versions


@pytest.fixture
def ready(study):
    study.anchor = create_service_key(study.services.context.settings.simulated_key_path)
    return study


def go(study, run_id):
    return execute(study.services, run_id, cores=1, memory_bytes=1 << 31, session=SimulatedAgent(study))


@pytest.mark.parametrize(
    "over",
    [
        {"max_runs": 1},
        {"on_refresh": True, "follows": ()},
        {"on_refresh": True, "schedule": "@daily"},
    ],
)
def test_terms_that_contradict_themselves_are_refused(over):
    with pytest.raises(InvalidInputError):
        make_terms(**over)


@pytest.mark.parametrize("follows", [("others",), ("patients", "others")])
def test_job_that_follows_what_it_does_not_read_is_refused(study, follows):
    with pytest.raises(InvalidInputError):
        study.submit(study.make_job(rerun_terms=make_terms(follows=follows)).id)


def test_job_that_follows_a_data_set_that_it_reads_twice_is_refused(study):
    refresh(study, 2)
    uses = tuple(
        DraftDataset(alias=alias, dataset_id=study.dataset_ids["patients"], version=number)
        for alias, number in (("patients", 1), ("later", 2))
    )
    with pytest.raises(InvalidInputError):
        study.submit(study.make_job(datasets=uses, rerun_terms=make_terms()).id)


def test_run_reads_the_newest_version_that_there_is_when_it_begins(study):
    job = study.accepted_job(rerun_terms=make_terms())
    run = study.open_run(job.id)
    refresh(study, 2)
    study.services.runs.start(run.id)
    refresh(study, 3)
    assert versions(study, run.id) == {"ds-patients": 2, "ds-findings": 1}


def test_run_of_a_job_that_does_not_follow_reads_the_named_version(study):
    job = study.accepted_job(rerun_terms=make_terms(follows=("findings",)))
    refresh(study, 2)
    run = study.open_run(job.id)
    study.services.runs.start(run.id)
    assert versions(study, run.id) == {"ds-patients": 1, "ds-findings": 1}


def test_run_after_a_refresh_with_other_columns_is_refused(study):
    job = study.accepted_job(rerun_terms=make_terms())
    waiting = study.open_run(job.id)
    refresh(study, 2, columns=OTHER_COLUMNS)
    with pytest.raises(ConflictError, match="other columns"):
        study.services.runs.start(waiting.id)
    with pytest.raises(ConflictError, match="other columns"):
        study.open_run(job.id)


def on_refresh(study):
    return study.accepted_job(rerun_terms=make_terms(on_refresh=True))


def test_refresh_starts_a_run_and_the_next_one_waits_for_the_next_refresh(ready):
    job = on_refresh(ready)
    event = {"actor": None, "trigger": Trigger.ASSET}
    with pytest.raises(ConflictError, match="refreshed"):
        ready.open_run(job.id, **event)
    refresh(ready, 2)
    assert go(ready, ready.open_run(job.id, **event).id).state is RunState.SUCCEEDED
    with pytest.raises(ConflictError, match="refreshed"):
        ready.open_run(job.id, **event)
    refresh(ready, 3)
    run = ready.open_run(job.id, **event)
    assert go(ready, run.id).state is RunState.SUCCEEDED
    assert versions(ready, run.id)["ds-patients"] == 3


def test_refresh_does_not_start_a_job_that_only_follows(study):
    job = study.accepted_job(rerun_terms=make_terms())
    refresh(study, 2)
    with pytest.raises(DeniedError):
        study.open_run(job.id, actor=None, trigger=Trigger.ASSET)


def test_schedule_does_not_start_a_job_that_runs_on_refreshes(study):
    job = on_refresh(study)
    refresh(study, 2)
    with pytest.raises(DeniedError):
        study.open_run(job.id, actor=None, trigger=Trigger.SCHEDULED)


def test_dag_facts_name_what_starts_a_run(study):
    follows, runs = study.accepted_job(rerun_terms=make_terms()), on_refresh(study)
    assert study.services.deployments.dag_facts(follows.id, 1).runs_on_refresh_of == ()
    assert study.services.deployments.dag_facts(runs.id, 1).runs_on_refresh_of == ("ds-patients",)


def inspected(study, run_id, **over):
    context = study.services.runs.receipt(run_id, actor=study.id("lea"))
    given = {
        "spec_bytes": context.spec_bytes,
        "bundle_bytes": context.bundle_bytes,
        "inputs": context.inputs,
        "refreshed": context.refreshed,
        "folder": study.services.context.settings.result_dir(run_id),
        "trust": make_trust(simulated_keys=(study.anchor.text,)),
    }
    return inspect_receipt(context.receipt, **(given | over))


def test_receipt_proves_the_newer_version_and_no_other(ready):
    job = ready.accepted_job(rerun_terms=make_terms())
    second = refresh(ready, 2)
    run = ready.open_run(job.id)
    assert go(ready, run.id).state is RunState.SUCCEEDED
    report = inspected(ready, run.id)
    assert report.holds
    assert report.receipt.manifests["patients"] == second.digest

    third, _ = ready.manifest("patients", "anna", version=3)
    unsigned = {"patients": sign_manifest(second, ready.people["lea"].key).decode()}
    other = {"patients": sign_manifest(third, ready.people["anna"].key).decode()}
    assert inspected(ready, run.id, refreshed={}).steps[-1].number == 2
    for refreshed in (unsigned, other, {"patients": "{}"}):
        assert inspected(ready, run.id, refreshed=refreshed).steps[-1].number == 3


def test_receipt_with_a_newer_version_of_what_is_not_followed_fails(ready):
    job = ready.accepted_job(rerun_terms=make_terms(follows=("findings",)))
    second = refresh(ready, 2)
    run = ready.open_run(job.id)

    def lie(receipt):
        return replace(receipt, manifests=receipt.manifests | {"patients": second.digest})

    outcome = execute(ready.services, run.id, cores=1, memory_bytes=1 << 31, session=SimulatedAgent(ready, change_receipt=lie))
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "receipt-refused")


def test_refresh_is_due_from_its_registration_until_its_run_begins(ready):
    job = on_refresh(ready)
    due = ready.services.deployments.due_refreshes
    assert due() == []
    ready.clock.forward(seconds=1)
    refresh(ready, 2)
    assert due() == [("ds-patients", 2)]
    run = ready.open_run(job.id, actor=None, trigger=Trigger.ASSET)
    assert due() == []
    go(ready, run.id)
    assert due() == []


def test_refresh_made_before_the_acceptance_or_for_a_job_that_only_follows_is_not_due(study):
    study.accepted_job(rerun_terms=make_terms())
    job = study.make_job(rerun_terms=make_terms(on_refresh=True))
    study.submit(job.id)
    study.clock.forward(seconds=1)
    refresh(study, 2)
    study.clock.forward(seconds=1)
    study.vote(job.id, "ben")
    study.vote(job.id, "lea")
    assert study.services.deployments.due_refreshes() == []


def test_refresh_with_other_columns_is_not_due(study):
    on_refresh(study)
    study.clock.forward(seconds=1)
    refresh(study, 2, columns=OTHER_COLUMNS)
    assert study.services.deployments.due_refreshes() == []
