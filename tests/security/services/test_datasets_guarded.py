"""Data sets: only their owner acts on them, and only by signed manifests."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.custody import sign_sharing, verify_sharing
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain import dataset as nouns
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import Source
from opaque_jobs.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError, TrustError


def _register(cast, manifest, folder, *, actor="anna", key=None):
    return cast.services.datasets.register(
        actor=cast.id(actor),
        envelope=sign_manifest(manifest, key or cast.people["anna"].key),
        storage=folder,
        source=Source.LOCAL,
        description="",
    )


@pytest.mark.parametrize("name", ["lea", "mallory"])
def test_only_the_owner_acts_on_a_data_set(study, name):
    actor, datasets = study.id(name), study.services.datasets
    expected = DeniedError if name == "lea" else NotFoundError
    calls = [
        lambda: study.share("ds-patients", name, by="anna", back=True),
        lambda: datasets.delete(actor=actor, dataset_id="ds-patients"),
        lambda: study.share("ds-patients", name, by="anna"),
        lambda: datasets.attach_test_data(actor=actor, dataset_id="ds-patients", kind=nouns.TestDataKind.NONE, path=None),
    ]
    for call in calls:
        with pytest.raises(expected):
            call()
    assert datasets.show("ds-patients", actor=study.id("ben")).workspace_ids == (study.workspace_id,)


def test_colleague_of_the_owner_may_act_for_it(study):
    study.share("ds-patients", "ben", back=True)
    assert study.services.datasets.list(actor=study.id("lea"), workspace_id=study.workspace_id)[0].id == "ds-findings"


@pytest.mark.parametrize(
    "over",
    [
        {"shared": False, "lifts": ()},
        {"dataset_id": "ds-findings"},
        {"workspace_id": "ws-other"},
        {"workspace_genesis": digest(b"x")},
    ],
)
def test_sharing_statement_about_something_else_changes_nothing(study, over):
    study.share("ds-patients", "anna", back=True)
    given = {"dataset_id": "ds-patients", "workspace_id": study.workspace_id}
    envelope = _signed(study, **over)
    with pytest.raises(TrustError):
        study.services.datasets.share(actor=study.id("anna"), envelope=envelope, **given)
    assert study.services.datasets.show("ds-patients", actor=study.id("ben")).workspace_ids == ()


def test_sharing_statement_by_a_colleague_is_not_the_actors(study):
    study.share("ds-patients", "anna", back=True)
    with pytest.raises(TrustError):
        study.share("ds-patients", "anna", by="ben")


def _signed(study, **over):
    where = {"workspace_id": study.workspace_id}
    good = study.sharing("ds-patients", "anna", **where)
    said = verify_sharing(
        good, {study.people["anna"].key.public.key_id: study.people["anna"].key.public}, organisation_id="org-hospital"
    )
    return sign_sharing(replace(said, **over), study.people["anna"].key)


def test_data_set_is_unknown_to_those_it_is_not_shared_with(study):
    with pytest.raises(NotFoundError):
        study.services.datasets.show("ds-patients", actor=study.id("mallory"))
    with pytest.raises(NotFoundError):
        study.services.datasets.list(actor=study.id("mallory"), workspace_id=study.workspace_id)


def test_manifest_signed_by_a_stranger_is_refused(study):
    manifest, folder = study.manifest("new", "anna")
    with pytest.raises(TrustError):
        _register(study, manifest, folder, key=SigningKey.generate())


def test_manifest_signed_by_a_member_of_another_organisation_is_refused(study):
    manifest, folder = study.manifest("new", "anna")
    with pytest.raises(TrustError):
        _register(study, manifest, folder, key=study.people["lea"].key)


def test_registering_for_another_organisation_is_denied(study):
    manifest, folder = study.manifest("new", "anna")
    with pytest.raises(DeniedError):
        _register(study, manifest, folder, actor="lea")


def test_manifest_whose_files_are_missing_is_refused(study):
    manifest, folder = study.manifest("new", "anna")
    (folder / "part-00000.parquet").write_bytes(b"longer than said")
    with pytest.raises(InvalidInputError):
        _register(study, manifest, folder)


@pytest.mark.parametrize("version", [1, 3])
def test_version_that_is_not_the_next_is_refused(study, version):
    manifest, folder = study.manifest("patients", "anna", version=version)
    with pytest.raises(ConflictError):
        study.services.datasets.add_version(
            actor=study.id("anna"), envelope=sign_manifest(manifest, study.people["anna"].key), storage=folder
        )


def test_version_of_another_name_is_refused(study):
    manifest, folder = study.manifest("patients", "anna", version=2)
    renamed = replace(manifest, name="others")
    with pytest.raises(ConflictError):
        study.services.datasets.add_version(
            actor=study.id("anna"), envelope=sign_manifest(renamed, study.people["anna"].key), storage=folder
        )


def test_data_set_that_a_job_has_used_is_not_deleted(study):
    study.accepted_job()
    datasets, anna = study.services.datasets, study.id("anna")
    study.share("ds-patients", "anna", back=True)
    with pytest.raises(ConflictError):
        datasets.delete(actor=anna, dataset_id="ds-patients")


def test_shared_data_set_is_not_deleted_before_it_is_unshared(study):
    datasets, anna = study.services.datasets, study.id("anna")
    with pytest.raises(ConflictError):
        datasets.delete(actor=anna, dataset_id="ds-patients")
    study.share("ds-patients", "anna", back=True)
    datasets.delete(actor=anna, dataset_id="ds-patients")
    assert datasets.list(actor=anna) == []


def test_changed_key_needs_a_new_signature_before_the_data_set_counts_again(study):
    anna, fresh = study.people["anna"], SigningKey.generate()
    study.change_key("anna", fresh)
    study.accept_waiting("anna", "ben", "lea")
    job = study.make_job()
    with pytest.raises(TrustError):
        study.services.jobs.spec_for_submission(job.id, actor=anna.id)
    manifest = study.services.datasets.show("ds-patients", actor=anna.id).versions[0].manifest
    study.services.datasets.renew_signature(actor=anna.id, envelope=sign_manifest(manifest, fresh))
    assert study.services.jobs.spec_for_submission(job.id, actor=anna.id).datasets[0].manifest_digest == manifest.digest


def test_data_set_signed_by_somebody_outside_the_workspace_cannot_be_shared_into_it(study):
    other = study.make_workspace("ben", "lea", name="Other")
    with pytest.raises(TrustError):
        study.share("ds-patients", "ben", workspace_id=other)


def test_version_signed_by_somebody_outside_a_workspace_that_has_the_data_set_is_refused(study):
    study.change_members("anna", "lea")
    manifest, folder = study.manifest("patients", "anna", version=2)
    with pytest.raises(TrustError):
        study.services.datasets.add_version(
            actor=study.id("ben"), envelope=sign_manifest(manifest, study.people["ben"].key), storage=folder
        )
