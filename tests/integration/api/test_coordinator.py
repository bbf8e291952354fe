"""A client's work over the API: what comes back is what the services give, files come and go whole."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.domain import dataset as words
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import Part, Source
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus, RunState
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError


def draft_and_accept(scene):
    study, anna = scene.study, scene.as_member("anna")
    job = anna.jobs.create_draft(study.workspace_id, draft=study.draft())
    spec = anna.jobs.spec_for_submission(job.id)
    assert spec == study.services.jobs.spec_for_submission(job.id, actor=study.id("anna")).to_bytes()
    parsed = parse_job_spec(spec)
    anna.reviews.submit(job.id, spec=spec, envelope=study.sign(parsed, "anna"), no_test_reason="tested elsewhere")
    for name in ("ben", "lea"):
        scene.as_member(name).reviews.vote(job.id, envelope=study.sign(parsed, name))
    return anna.jobs.show(job.id)


def test_job_is_drafted_submitted_and_accepted_over_the_api(scene):
    job = draft_and_accept(scene)
    assert job.status is JobStatus.ACCEPTED
    assert job == scene.study.services.jobs.show(job.id, actor=scene.study.id("anna"))
    bundle = scene.as_member("lea").reviews.bundle(job.id, 1)
    assert len(bundle.approvals) == 3


def test_draft_edited_in_two_places_at_once_keeps_the_first_change(scene):
    anna, study = scene.as_member("anna"), scene.study
    job = anna.jobs.create_draft(study.workspace_id, draft=study.draft())
    anna.jobs.edit(job.id, draft=study.draft(description="first"), version=job.version)
    with pytest.raises(ConflictError, match="meanwhile"):
        anna.jobs.edit(job.id, draft=study.draft(description="second"), version=job.version)
    assert anna.jobs.show(job.id).draft.description == "first"


@pytest.mark.parametrize(("sort", "reverse"), [("name", False), ("-name", True)])
def test_list_in_parts_holds_everything_once_in_order(scene, sort, reverse):
    anna, study = scene.as_member("anna"), scene.study
    names = [f"Job {letter}" for letter in "badce"]
    for name in names:
        anna.jobs.create_draft(study.workspace_id, draft=study.draft(name=name))
    found, cursor = [], None
    while True:
        part = anna.jobs.list(sort=sort, limit=2, cursor=cursor)
        found += [each.draft.name for each in part.items]
        cursor = part.next
        if cursor is None:
            break
    assert found == sorted(names, reverse=reverse)


def test_list_in_parts_goes_on_though_its_last_item_is_gone(scene):
    anna, study = scene.as_member("anna"), scene.study
    for letter in "abc":
        anna.jobs.create_draft(study.workspace_id, draft=study.draft(name=f"Job {letter}"))
    first = anna.jobs.list(sort="name", limit=1)
    anna.jobs.delete(first.items[0].id)
    assert [each.draft.name for each in anna.jobs.list(sort="name", cursor=first.next).items] == ["Job b", "Job c"]


def test_list_is_filtered(scene):
    anna, study = scene.as_member("anna"), scene.study
    draft_and_accept(scene)
    anna.jobs.create_draft(study.workspace_id, draft=study.draft(name="Draft"))
    assert [each.draft.name for each in anna.jobs.list(status=(JobStatus.DRAFT,)).items] == ["Draft"]
    assert anna.jobs.list(author_id=study.id("lea")).items == ()
    assert len(anna.jobs.list(status=(JobStatus.DRAFT, JobStatus.ACCEPTED)).items) == 2


@pytest.mark.parametrize(
    ("cursor", "limit", "sort"),
    [("?", 1, "name"), ("W10=", 1, "created_at"), (None, 0, "name"), (None, 501, "name"), (None, 1, "x")],
)
def test_list_asked_for_in_a_way_that_it_does_not_have_is_refused(scene, cursor, limit, sort):
    scene.as_member("anna").jobs.create_draft(scene.study.workspace_id, draft=scene.study.draft())
    if cursor == "W10=":
        assert scene.as_member("anna").jobs.list(cursor=cursor, limit=limit, sort=sort).items
        return
    with pytest.raises(InvalidInputError):
        scene.as_member("anna").jobs.list(cursor=cursor, limit=limit, sort=sort)


def send(scene, upload, file, data, *, start=0):
    headers = {"Upload-Offset": str(start)}
    return scene.connection("anna").send("PUT", f"/uploads/{upload}/files/{file}", headers=headers, content=data)


def manifest_of(scene, name, data, **over):
    made, folder = scene.study.manifest(name, "anna", **over)
    (folder / "part-00000.parquet").unlink()
    folder.rmdir()
    part = Part(name="part-00000.parquet", size_bytes=len(data), sha256=digest(data), rows=3)
    return replace(made, parts=(part,)), folder


def test_data_set_is_uploaded_in_pieces_after_a_break_and_registered(scene):
    anna, study = scene.as_member("anna"), scene.study
    data = bytes(range(256)) * 20_000
    manifest, folder = manifest_of(scene, "visits", data)
    upload = anna.uploads.begin()
    send(scene, upload.id, "part-00000.parquet", data[:1_000_000])
    with pytest.raises(ConflictError) as caught:
        send(scene, upload.id, "part-00000.parquet", data[:10])
    assert caught.value.facts["size_bytes"] == 1_000_000
    (arrived,) = anna.uploads.show(upload.id).files
    send(scene, upload.id, "part-00000.parquet", data[arrived.size_bytes :], start=arrived.size_bytes)
    assert not folder.exists()
    envelope = sign_manifest(manifest, study.people["anna"].key)
    made = anna.datasets.register(upload_id=upload.id, envelope=envelope, source=Source.LOCAL)
    assert (folder / "part-00000.parquet").read_bytes() == data
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    assert made.versions[0].envelope == envelope
    with pytest.raises(NotFoundError):
        anna.uploads.show(upload.id)


def test_data_set_whose_files_are_not_what_was_signed_is_refused_and_the_upload_stays(scene):
    anna, study = scene.as_member("anna"), scene.study
    manifest, folder = manifest_of(scene, "visits", b"right bytes")
    upload = anna.uploads.begin()
    send(scene, upload.id, "part-00000.parquet", b"wrong bytes")
    with pytest.raises((TrustError, InvalidInputError)):
        anna.datasets.register(
            upload_id=upload.id, envelope=sign_manifest(manifest, study.people["anna"].key), source=Source.LOCAL
        )
    assert not folder.exists()
    assert [each.name for each in anna.uploads.show(upload.id).files] == ["part-00000.parquet"]


def test_data_set_that_is_not_taken_leaves_its_upload_as_it_was(scene):
    anna, study = scene.as_member("anna"), scene.study
    manifest, folder = manifest_of(scene, "visits", b"bytes", version=2)
    upload = anna.uploads.begin()
    send(scene, upload.id, "part-00000.parquet", b"bytes")
    with pytest.raises(OpaqueJobsError, match="version 1"):
        anna.datasets.register(
            upload_id=upload.id, envelope=sign_manifest(manifest, study.people["anna"].key), source=Source.LOCAL
        )
    assert not folder.exists()
    assert [each.size_bytes for each in anna.uploads.show(upload.id).files] == [5]


def test_test_data_is_uploaded_and_fetched_by_partners(scene):
    anna, dataset_id = scene.as_member("anna"), scene.study.dataset_ids["patients"]
    upload = anna.uploads.begin()
    send(scene, upload.id, "part-00000.parquet", b"synthetic")
    made = anna.datasets.attach_test_data(dataset_id, kind=words.TestDataKind.SYNTHETIC, upload_id=upload.id)
    assert [(each.name, each.size_bytes) for each in made.test_files] == [("part-00000.parquet", 9)]
    fetched = scene.connection("lea").send("GET", f"/datasets/{dataset_id}/test-files/part-00000.parquet", headers={})
    assert fetched.content == b"synthetic"


def test_file_of_a_run_is_fetched_by_ranges(scene):
    _, run = scene.finished_run()
    anna = scene.as_member("anna")
    assert [(each.name, each.size_bytes) for each in anna.runs.files(run.id)] == [("log.sealed.json", 10)]
    path = f"/runs/{run.id}/files/log.sealed.json"
    part = scene.connection("anna").send("GET", path, headers={"Range": "bytes=3-5"})
    assert (part.status_code, part.content) == (206, b"345")
    assert part.headers["content-disposition"] == "attachment"


def test_runs_are_listed_newest_first_and_by_state(scene):
    job, run = scene.finished_run()
    anna = scene.as_member("anna")
    assert [each.id for each in anna.runs.history(job.id).items] == [run.id]
    assert anna.runs.history(job.id, state=(RunState.FAILED,)).items == ()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x" * 129])
def test_upload_of_a_file_with_a_name_that_leads_elsewhere_is_refused(scene, name):
    upload = scene.as_member("anna").uploads.begin()
    with pytest.raises((InvalidInputError, NotFoundError)):
        send(scene, upload.id, name, b"x")
    assert scene.as_member("anna").uploads.show(upload.id).files == ()


def test_upload_left_unfinished_is_removed_after_two_days(scene):
    anna = scene.as_member("anna")
    upload = anna.uploads.begin()
    scene.study.clock.forward(days=2, seconds=1)
    anna.uploads.begin()
    with pytest.raises(NotFoundError):
        anna.uploads.show(upload.id)


def test_change_asked_for_twice_happens_once_also_after_a_restart(scene):
    study = scene.study
    connection, headers = scene.connection("anna"), {"Idempotency-Key": "k" * 20}
    body = {"name": "Twice", "member_ids": []}
    answers = [connection.send("POST", "/workspaces", headers=dict(headers), json=body) for _ in range(2)]
    assert answers[0].content == answers[1].content
    names = [each.name for each in study.services.workspaces.list(actor=study.id("anna"))]
    assert names.count("Twice") == 1
