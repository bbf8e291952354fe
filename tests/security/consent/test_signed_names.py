"""A database that calls other things, or people, by the names that somebody types: what they signed says what they mean."""

from contextlib import suppress
from dataclasses import replace

import pytest
from own_files import forget

from opaque_jobs.cli.session import own_member
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.reviews import cast_vote
from opaque_jobs.client.rosters import in_force
from opaque_jobs.client.signed_names import checked_digest, held_job, named_dataset, named_job, named_workspace, waiting_workspace
from opaque_jobs.client.withdrawals import withdraw_consent
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import Source
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError


def reader(desk, name: str = "lea") -> tuple:
    return desk.who(name)[:2]


def trap(desk) -> str:
    """A second workspace of all, which the administrator gives the name of the first."""
    other = desk.cast.make_workspace("mallory", "lea", name="Elsewhere")
    desk.run("UPDATE workspaces SET name = 'Study 2' WHERE id = ?", desk.cast.workspace_id)
    desk.run("UPDATE workspaces SET name = 'Study' WHERE id = ?", other)
    return other


def test_workspace_is_the_one_whose_members_signed_the_name(desk):
    assert named_workspace(*reader(desk), "Study") == desk.cast.workspace_id


def test_workspace_that_the_database_calls_otherwise_now_is_found_by_what_is_kept(desk):
    named_workspace(*reader(desk), "Study")
    trap(desk)
    assert named_workspace(*reader(desk), "Study") == desk.cast.workspace_id


def test_workspace_that_the_database_calls_otherwise_is_found_by_what_all_signed(desk):
    trap(desk)
    assert named_workspace(*reader(desk), "Study") == desk.cast.workspace_id


def test_name_that_only_the_database_gives_a_workspace_names_none(desk):
    desk.run("UPDATE workspaces SET name = 'Main'")
    with pytest.raises(TrustError, match="is no workspace whose members"):
        named_workspace(*reader(desk), "Main")


def test_workspace_whose_list_somebody_did_not_sign_is_not_known_by_its_name(desk):
    desk.run("DELETE FROM acceptances WHERE member_id = 'member-ben'")
    with pytest.raises(TrustError, match="is no workspace whose members"):
        named_workspace(*reader(desk), "Study")


def test_workspace_that_the_database_hides_is_found_by_what_is_kept_and_by_its_id(desk):
    named_workspace(*reader(desk), "Study")
    desk.run("DELETE FROM workspaces")
    assert named_workspace(*reader(desk), "Study") == named_workspace(*reader(desk), desk.cast.workspace_id)


def test_name_of_two_workspaces_that_somebody_signed_for_is_ambiguous(desk):
    opened, lea = reader(desk)
    named_workspace(opened, lea, "Study")
    kept = own_memory(opened.settings, lea).agreed_list(desk.cast.workspace_id)
    own_memory(opened.settings, lea).keep_list(replace(kept.roster, workspace_id="ws-2"), ())
    with pytest.raises(InvalidInputError, match="ambiguous"):
        named_workspace(opened, lea, "Study")


def test_pending_workspace_is_said_to_be_pending(desk):
    desk.cast.propose_workspace("anna", "lea", name="Soon")
    with pytest.raises(ConflictError):
        named_workspace(*reader(desk), "Soon")


def test_unknown_workspace_is_not_found(desk):
    with pytest.raises(NotFoundError):
        named_workspace(*reader(desk), "Nowhere")


def test_data_set_is_the_one_whose_manifest_its_owner_signed_with_the_name(desk):
    assert named_dataset(*reader(desk), "findings") == desk.cast.dataset_ids["findings"]


def test_data_set_that_the_database_calls_otherwise_is_named_by_its_id_only(desk):
    desk.cast.make_dataset("letters", "lea", share=False)
    desk.run("UPDATE datasets SET name = 'aside' WHERE name = 'findings'")
    desk.run("UPDATE datasets SET name = 'findings' WHERE name = 'letters'")
    with pytest.raises(TrustError, match="calls a data set"):
        named_dataset(*reader(desk), "findings")
    assert named_dataset(*reader(desk), "ds-findings") == "ds-findings"


def test_manifest_of_another_data_set_gives_no_name(desk):
    desk.cast.make_dataset("letters", "lea", share=False)
    desk.run("DELETE FROM dataset_versions WHERE dataset_id = 'ds-letters'")
    desk.run("UPDATE dataset_versions SET dataset_id = 'ds-letters' WHERE dataset_id = 'ds-findings'")
    desk.run("DELETE FROM datasets WHERE name = 'findings'")
    desk.run("UPDATE datasets SET name = 'findings' WHERE name = 'letters'")
    with pytest.raises(TrustError, match="calls a data set"):
        named_dataset(*reader(desk), "findings")


def test_data_set_of_a_colleague_is_known_by_the_signed_list_and_not_without(desk):
    desk.cast.make_dataset("letters", "anna", share=False)
    assert named_dataset(*reader(desk, "ben"), "letters") == "ds-letters"
    desk.run("DELETE FROM acceptances")
    forget(desk.who("ben")[0].settings, "ben", "agreed_lists")
    with pytest.raises(TrustError, match="calls a data set"):
        named_dataset(*reader(desk, "ben"), "letters")


def test_data_set_that_one_signed_version_calls_otherwise_has_no_name_here(desk):
    manifest, folder = desk.cast.manifest("salaries", "lea")
    opened, lea, key = desk.who("lea")
    for version, name in ((1, "salaries"), (2, "findings")):
        envelope = sign_manifest(replace(manifest, dataset_version=version, name=name), key)
        add = {"actor": lea.id, "envelope": envelope, "storage": folder}
        if version == 1:
            desk.cast.services.datasets.register(**add, source=Source.LOCAL, description="")
        else:
            desk.run(
                "INSERT INTO dataset_versions (dataset_id, version, manifest_digest, envelope, storage, registered_at) "
                "SELECT dataset_id, 2, ?, ?, storage, registered_at FROM dataset_versions WHERE dataset_id = 'ds-salaries'",
                *(digest(envelope), envelope),
            )
    desk.run("UPDATE datasets SET name = 'aside' WHERE name = 'findings'")
    desk.run("UPDATE datasets SET name = 'findings' WHERE name = 'salaries'")
    with pytest.raises(TrustError, match="calls a data set"):
        named_dataset(opened, lea, "findings")


def test_colleague_of_an_earlier_list_names_no_data_set_any_more(desk):
    desk.cast.make_dataset("letters", "anna", share=False)
    opened, ben = reader(desk, "ben")
    named_workspace(opened, ben, "Study")
    desk.cast.services.workspaces.propose_change(
        actor=ben.id, workspace_id=desk.cast.workspace_id, member_ids=[ben.id, desk.cast.id("lea")]
    )
    desk.cast.accept_waiting("ben", "lea")
    with pytest.raises(TrustError, match="calls a data set"):
        named_dataset(opened, ben, "letters")


def test_list_is_waited_for_in_the_workspace_that_a_member_signed_for(desk):
    opened, lea = reader(desk)
    assert waiting_workspace(opened, lea, "Study") == desk.cast.workspace_id
    first = desk.first_list()
    own_memory(opened.settings, lea).remember_list(first)
    trap(desk)
    with pytest.raises(TrustError, match="another workspace"):
        waiting_workspace(opened, lea, "Study")
    desk.run("UPDATE workspaces SET name = 'Study'")
    with pytest.raises(ConflictError):
        waiting_workspace(opened, lea, "Study")
    desk.run("DELETE FROM workspaces")
    assert waiting_workspace(opened, lea, "Study") == desk.cast.workspace_id
    own_memory(opened.settings, lea).remember_taken_back(first, b"{}")
    with pytest.raises(NotFoundError):
        waiting_workspace(opened, lea, "Study")


def test_name_stays_with_the_workspace_in_force_after_a_list_of_it_was_taken_back(desk):
    opened, lea = reader(desk)
    named_workspace(opened, lea, "Study")
    first = desk.first_list()
    later = replace(first, epoch=2, genesis=first.digest, previous=first.digest)
    own_memory(opened.settings, lea).remember_list(later)
    own_memory(opened.settings, lea).remember_taken_back(later, b"{}")
    trap(desk)
    with pytest.raises(TrustError, match="another workspace"):
        waiting_workspace(opened, lea, "Study")


@pytest.mark.parametrize("text", ["sha256:", "sha256:" + "0" * 63, "sha256:" + "g" * 64, "Study", ""])
def test_what_is_no_digest_holds_nothing(text):
    with pytest.raises(InvalidInputError, match="no digest"):
        checked_digest(text)


def test_data_set_of_another_organisation_that_is_shown_as_ones_own_has_no_name_here(desk):
    named_workspace(*reader(desk, "anna"), "Study")
    desk.run("UPDATE datasets SET organisation_id = 'org-hospital' WHERE name = 'findings'")
    with pytest.raises(TrustError, match="calls a data set"):
        named_dataset(*reader(desk, "anna"), "findings")


def test_job_is_held_by_the_name_that_votes_prove(desk):
    job = desk.submitted("ben", "lea")
    assert held_job(*reader(desk), "Overlap") == job
    desk.run("DELETE FROM votes WHERE member_id = 'member-ben'")
    with pytest.raises(NotFoundError, match="nothing that you approved"):
        held_job(*reader(desk), "Overlap")


def rename_jobs(desk, job: str, name: str) -> None:
    desk.run(
        "UPDATE jobs SET draft = CAST(replace(CAST(draft AS TEXT), '\"Overlap\"', ?) AS BLOB) WHERE id = ?",
        *(f'"{name}"', job),
    )


def test_job_that_only_the_database_calls_so_is_not_held_by_that_name(desk):
    job = desk.submitted("ben", "lea")
    rename_jobs(desk, job, "Rates")
    with pytest.raises(NotFoundError, match="nothing that you approved"):
        held_job(*reader(desk), "Rates")


def test_job_that_the_database_calls_otherwise_or_hides_is_held_and_withdrawn_by_the_name_that_was_approved(desk):
    job = desk.submitted("ben")
    cast_vote(*desk.who("lea"), job, decision=Decision.APPROVE, expected_digest=desk.digest(job))
    digest = desk.digest(job)
    rename_jobs(desk, job, "Rates")
    assert held_job(*reader(desk), "Overlap") == job
    for table in ("votes", "revision_datasets", "revisions"):
        desk.run(f"DELETE FROM {table} WHERE job_id = ?", job)  # noqa: S608
    desk.run("DELETE FROM jobs WHERE id = ?", job)
    assert named_job(*reader(desk), "Overlap") == named_job(*reader(desk), digest) == (desk.cast.workspace_id, job)
    assert held_job(*reader(desk), "Overlap") == job


def test_name_of_a_job_that_was_approved_and_of_another_that_is_shown_is_ambiguous(desk):
    job, other = desk.submitted("ben"), desk.submitted("ben")
    opened, lea = reader(desk)
    own_memory(opened.settings, lea).remember_consent([desk.cast.spec(job)], withdrawal=None)
    rename_jobs(desk, job, "Rates")
    with pytest.raises(InvalidInputError, match="ambiguous"):
        named_job(opened, lea, "Overlap")
    assert named_job(opened, lea, other) == (desk.cast.workspace_id, other)


def test_job_that_is_called_like_the_id_of_another_is_not_meant_by_that_id(desk):
    job = desk.submitted("ben")
    opened, lea = reader(desk)
    decoy = replace(desk.cast.spec(job), job_id="job-" + "e" * 24, name=job)
    own_memory(opened.settings, lea).remember_consent([decoy, desk.cast.spec(job)], withdrawal=None)
    assert named_job(opened, lea, job) == (desk.cast.workspace_id, job)
    nightly = replace(decoy, name="job-nightly")
    own_memory(opened.settings, lea).remember_consent([nightly], withdrawal=None)
    assert named_job(opened, lea, "job-nightly")[1] == decoy.job_id


def test_job_that_nobody_here_signed_is_the_one_that_the_database_shows(desk):
    assert named_job(*reader(desk), "Overlap" if (job := desk.submitted()) else "") == (desk.cast.workspace_id, job)
    with pytest.raises(NotFoundError):
        named_job(*reader(desk), "Nothing")


LIES = {
    "another id": ("UPDATE members SET id = 'member-emma' WHERE name = 'lea'",),
    "another organisation": ("UPDATE members SET organisation_id = 'org-hospital' WHERE name = 'lea'",),
    "another key": ("UPDATE members SET public_key = ? WHERE name = 'lea'", SigningKey.generate().public.text),
    "nobody": ("DELETE FROM members WHERE name = 'lea'",),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_member_is_who_their_own_files_say_and_takes_back_what_they_approved(desk, lie):
    opened, lea, key = desk.who("lea")
    job = desk.submitted("ben")
    cast_vote(opened, lea, key, job, decision=Decision.APPROVE, expected_digest=desk.digest(job))
    digest = desk.digest(job)
    desk.run(*LIES[lie])
    known = own_member(desk.cast.services, "lea")
    assert known == lea
    workspace_id, named = named_job(opened, known, "Overlap")
    with suppress(OpaqueJobsError):
        withdraw_consent(opened, in_force(opened, known, workspace_id), key, named)
    assert desk.told(digest) == [1, 1]


BROKEN = {
    "a date": "UPDATE workspaces SET created_at = 'x'",
    "text for bytes": "UPDATE rosters SET body = CAST(body AS TEXT)",
    "a number for bytes": "UPDATE revisions SET spec = 7",
    "no version": "DELETE FROM dataset_versions",
    "a manifest": "UPDATE dataset_versions SET envelope = CAST('{}' AS BLOB)",
    "a table": "DROP TABLE rosters",
}


@pytest.mark.parametrize("broken", list(BROKEN))
def test_row_that_nobody_can_read_keeps_no_member_from_taking_back_what_they_approved(desk, broken):
    opened, lea, key = desk.who("lea")
    in_force(opened, lea, desk.cast.workspace_id)
    job = desk.submitted("ben")
    cast_vote(opened, lea, key, job, decision=Decision.APPROVE, expected_digest=desk.digest(job))
    signed = desk.digest(job)
    desk.run(BROKEN[broken])
    workspace_id, named = named_job(opened, own_member(desk.cast.services, "lea"), "Overlap")
    with suppress(OpaqueJobsError):
        withdraw_consent(opened, in_force(opened, lea, workspace_id), key, named)
    assert desk.told(signed) == [1, 1]


def test_member_whose_key_or_pin_is_elsewhere_is_who_the_database_says(desk):
    opened = desk.who("lea")[0]
    assert own_member(desk.cast.services, "mallory") == desk.cast.people["mallory"].entry
    with pytest.raises(NotFoundError):
        own_member(desk.cast.services, "nobody")
    forget(opened.settings, "lea", "organisation")
    assert own_member(desk.cast.services, "lea") == desk.cast.people["lea"].entry
