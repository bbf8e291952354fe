"""A database that would have an author's own client submit what its owner did not write, attempt by attempt."""

from dataclasses import replace

import pytest
from consortium import make_input

from opaque_jobs.cli.review_page import draft_page
from opaque_jobs.cli.review_print import print_page
from opaque_jobs.client.drafts import is_own_draft, remember_draft
from opaque_jobs.client.memory import memory_path
from opaque_jobs.client.reviews import submit_job
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.domain.job import Code, JobKind, Language, TemplateUse, parse_job_spec
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import JobView
from opaque_jobs.services import DraftDataset, JobDraft
from tests.support.tee_policies import make_nitro_policy, on_hardware

HARMLESS = Code(language=Language.SQL, text="SELECT 1 AS harmless")


def drafted(desk) -> tuple[JobView, JobDraft]:
    """A draft that anna's client wrote, with a version and columns of her choice for one data set and neither for the other."""
    cast = desk.cast
    draft = cast.draft(
        inputs=(make_input(),),
        datasets=(
            DraftDataset(alias="patients", dataset_id="ds-patients", version=1, columns=("id",)),
            DraftDataset(alias="findings", dataset_id="ds-findings"),
        ),
    )
    view = cast.services.jobs.create_draft(actor=cast.id("anna"), workspace_id=cast.workspace_id, draft=draft)
    remember_draft(cast.services.context.settings, cast.people["anna"].entry, view, draft)
    return view, draft


def submit(desk, job: str, **over):
    return submit_job(*desk.who("anna"), job, test_run_id=None, no_test_reason="small", **over)


def test_draft_is_submitted_as_its_author_wrote_it(desk):
    view, draft = drafted(desk)
    assert parse_job_spec(submit(desk, view.id).spec_bytes).code == draft.code


HARDWARE = on_hardware(nitro=make_nitro_policy())


def swapped(uses):
    """The same names for each other's data."""
    first, second = uses
    return replace(first, dataset_id=second.dataset_id), replace(second, dataset_id=first.dataset_id)


CHANGES = {
    "code": lambda _: {"code": HARMLESS},
    "columns": lambda draft: {"datasets": (replace(draft.datasets[0], columns=None), draft.datasets[1])},
    "data set": lambda draft: {"datasets": swapped(draft.datasets)},
    "data sets": lambda draft: {"datasets": draft.datasets[:1]},
    "default": lambda _: {"inputs": (make_input(default=6),)},
    "reruns": lambda draft: {"rerun_terms": replace(draft.rerun_terms, max_runs=9, not_after="2099-01-01T00:00:00+00:00")},
    "enclaves": lambda _: HARDWARE,
    "output": lambda draft: {"output_policy": replace(draft.output_policy, max_rows=7)},
    "limits": lambda draft: {"limits": replace(draft.limits, cores=1)},
    "engine": lambda _: {"spark_conf": {"spark.sql.shuffle.partitions": "3"}},
    "name": lambda _: {"name": "Another"},
    "description": lambda _: {"description": "something else"},
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_draft_that_the_database_changed_is_not_signed(desk, what):
    view, draft = drafted(desk)
    desk.run("UPDATE jobs SET draft = ? WHERE id = ?", to_bytes(replace(draft, **CHANGES[what](draft))), view.id)
    with pytest.raises(ConflictError, match="not what you wrote here"):
        submit(desk, view.id)
    assert desk.cast.show(view.id).revisions == ()
    assert desk.kept("anna") == {}


def test_document_that_is_not_what_the_draft_shown_says_is_not_signed(desk):
    """Between two looks at the database, the draft is another: what is compared is what is signed."""
    view, draft = drafted(desk)
    opened, anna, _ = desk.who("anna")
    settings, true = opened.settings, desk.cast.services.jobs.spec_for_submission(view.id, actor=anna.id)
    assert is_own_draft(settings, anna, true, draft)
    first, second = true.datasets
    template = TemplateUse(name="overlap-count", version="1", digest=digest(b""), parameters={})
    others = [
        {"code": HARMLESS},
        {"kind": JobKind.NO_CODE, "template": template},
        {"datasets": (replace(first, columns=("id", "value")), second)},
        {"datasets": (replace(first, dataset_version=2), second)},
        {"datasets": swapped(true.datasets)},
        {"datasets": (first, replace(second, alias="patients_too"))},
        {"datasets": (first,)},
        {"inputs": ()},
        {"name": "Another"},
        {"description": "something else"},
        {"rerun_terms": replace(true.rerun_terms, max_runs=9, not_after="2099-01-01T00:00:00+00:00")},
        HARDWARE,
        {"output_policy": replace(true.output_policy, max_rows=7)},
        {"spark_conf": {"spark.sql.shuffle.partitions": "3"}},
        {"limits": replace(true.limits, cores=1)},
        {"job_id": "job-another"},
        {"workspace_id": "ws-another"},
    ]
    assert [each for each in others if is_own_draft(settings, anna, replace(true, **each), draft)] == []


def test_draft_is_not_signed_as_somebody_elses_whose_organisation_would_get_the_result(desk):
    view, _ = drafted(desk)
    desk.run("UPDATE jobs SET author_id = 'member-lea' WHERE id = ?", view.id)
    spec = desk.cast.services.jobs.spec_for_submission(view.id, actor=desk.cast.id("anna"))
    assert spec.recipients[0].organisation_id == "org-laboratory"
    for seen in (None, spec.digest):
        with pytest.raises(ConflictError, match="not what you wrote here"):
            submit(desk, view.id, expected_digest=seen)


def test_draft_of_another_job_or_replaced_since_is_not_signed(desk):
    first, draft = drafted(desk)
    second, _ = drafted(desk)
    opened, anna, _ = desk.who("anna")
    remember_draft(opened.settings, anna, second, replace(draft, name="Other"))
    submit(desk, first.id)
    with pytest.raises(ConflictError, match="not what you wrote here"):
        submit(desk, second.id)


def test_draft_made_elsewhere_is_signed_only_with_the_digest_of_what_was_seen(desk, capsys):
    job = desk.cast.make_job().id
    opened, anna, _ = desk.who("anna")
    with pytest.raises(ConflictError, match="not what you wrote here"):
        submit(desk, job)
    spec = parse_job_spec(opened.jobs.spec_for_submission(job))
    shown = draft_page(opened, anna, spec, test_run_id=None, no_test_reason="small")
    print_page(shown)
    assert f"job submit {job} --digest {spec.digest}" in capsys.readouterr().out
    assert shown.roster is not None
    desk.run("UPDATE jobs SET draft = ? WHERE id = ?", to_bytes(desk.cast.draft(code=HARMLESS)), job)
    with pytest.raises(ConflictError, match="not what you looked at"):
        submit(desk, job, expected_digest=spec.digest)
    desk.run("UPDATE jobs SET draft = ? WHERE id = ?", to_bytes(desk.cast.draft()), job)
    assert submit(desk, job, expected_digest=spec.digest).digest == spec.digest


def test_written_drafts_are_kept_privately_and_without_what_they_say(desk):
    drafted(desk)
    path = memory_path(desk.cast.services.context.settings, "anna")
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"SELECT" not in path.read_bytes()
