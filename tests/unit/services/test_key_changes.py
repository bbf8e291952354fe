"""Changed keys among the services: registered on a word that holds, proposed everywhere, and the approvals of before are void."""

import pytest

from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.key_changes import SignedChange, sign_key_change
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.key_change import KeyUse
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.errors import ConflictError, TrustError

FRESH = SigningKey.generate()


def change_sealing_key(cast, key, by=None):
    organisation = cast.organisations["hospital"]
    word = sign_key_change(
        signer=by or organisation.signing,
        owner_id=organisation.entry.id,
        use=KeyUse.SEALING,
        old_key_id=organisation.entry.sealing_key_id,
        new_key=key.public.text,
        now=cast.clock(),
    )
    return cast.services.keys.change_sealing_key(organisation.entry.id, signed=SignedChange(word=word, possession=None))


def shown(cast, name="anna"):
    return cast.services.workspaces.show(cast.workspace_id, actor=cast.id(name))


def test_changed_key_starts_an_epoch_when_all_accept_and_supersedes_what_was_approved(study):
    job = study.accepted_job()
    study.change_key("anna", FRESH)
    assert shown(study).roster.epoch == 1
    assert study.show(job.id).status is JobStatus.ACCEPTED
    study.accept_waiting("anna", "lea")
    assert shown(study).roster.epoch == 1
    study.accept_waiting("ben")
    assert shown(study).roster.epoch == 2
    assert shown(study).roster.member(study.id("anna")).public_key == FRESH.public.text
    assert study.show(job.id).status is JobStatus.SUPERSEDED


def test_vote_with_the_key_before_does_not_count_in_the_new_epoch(study):
    former = study.people["anna"]
    study.change_key("anna", FRESH)
    study.accept_waiting("anna", "ben", "lea")
    job = study.make_job()
    manifest = study.services.datasets.show("ds-patients", actor=study.id("anna")).versions[0].manifest
    from opaque_jobs.crypto.consent import sign_manifest

    study.services.datasets.renew_signature(actor=study.id("anna"), envelope=sign_manifest(manifest, FRESH))
    spec = study.services.jobs.spec_for_submission(job.id, actor=study.id("anna"))
    fresh, study.people["anna"] = study.people["anna"], former
    with pytest.raises(TrustError):
        study.services.reviews.submit(
            job_id=job.id, spec=spec.to_bytes(), envelope=study.sign(spec, "anna"), no_test_reason="none"
        )
    study.people["anna"] = fresh
    study.submit(job.id)


def test_acceptance_with_the_key_before_is_refused(study):
    former = study.people["anna"]
    study.change_key("anna", FRESH)
    roster = shown(study).proposal.roster
    with pytest.raises(TrustError):
        sign_acceptance(roster, roster.member(former.id), former.key, now=study.clock())
    forged = sign_acceptance(roster, former.entry, former.key, now=study.clock())
    with pytest.raises(TrustError):
        study.services.workspaces.accept(workspace_id=study.workspace_id, envelope=forged)


@pytest.mark.parametrize("signer", ["ben", "lea", "mallory"])
def test_change_that_a_colleague_or_stranger_signed_is_not_registered(study, signer):
    before = study.services.workspaces.member(study.id("anna"))
    with pytest.raises(TrustError):
        study.services.keys.change_member_key(
            study.id("anna"), signed=study.signed_change("anna", FRESH, study.people[signer].key)
        )
    assert study.services.workspaces.member(study.id("anna")) == before


def test_key_of_another_member_cannot_be_taken_over(study):
    ben = study.people["ben"].key
    with pytest.raises(ConflictError):
        study.services.keys.change_member_key(study.id("anna"), signed=study.signed_change("anna", ben))


def test_key_of_before_does_not_come_back(study):
    former = study.people["anna"].key
    study.change_key("anna", FRESH)
    with pytest.raises(ConflictError):
        study.services.keys.change_member_key(study.id("anna"), signed=study.signed_change("anna", former))


def test_same_change_twice_is_refused(study):
    signed = study.signed_change("anna", FRESH)
    study.services.keys.change_member_key(study.id("anna"), signed=signed)
    with pytest.raises(TrustError):
        study.services.keys.change_member_key(study.id("anna"), signed=signed)


def test_lost_key_is_changed_on_the_word_of_the_organisation(study):
    study.change_key("anna", FRESH, study.organisations["hospital"].signing)
    study.accept_waiting("anna", "ben", "lea")
    assert shown(study).roster.epoch == 2


def test_waiting_list_keeps_its_other_changes_when_a_key_is_proposed(study):
    study.services.workspaces.propose_change(
        actor=study.id("lea"), workspace_id=study.workspace_id, member_ids=[study.id("anna"), study.id("lea")]
    )
    study.change_key("anna", FRESH)
    roster = shown(study).proposal.roster
    assert [member.name for member in roster.members] == ["anna", "lea"]
    assert roster.member(study.id("anna")).public_key == FRESH.public.text
    study.accept_waiting("anna", "lea")
    assert len(shown(study).roster.members) == 2


def test_pending_workspace_gets_the_key_too(cast):
    proposal = cast.propose_workspace("anna", "lea")
    cast.workspace_id = proposal.workspace_id
    cast.accept(proposal, "lea")
    cast.change_key("anna", FRESH)
    assert shown(cast).proposal.roster.epoch == 1
    cast.accept_waiting("anna", "lea")
    assert shown(cast).roster.member(cast.id("anna")).public_key == FRESH.public.text


def test_proposing_keys_again_changes_nothing(study):
    study.change_key("anna", FRESH)
    before = shown(study).proposal
    study.accept_waiting("anna")
    study.services.workspaces.propose_keys(study.id("anna"))
    assert shown(study).proposal.roster == before.roster
    assert study.id("anna") not in shown(study).proposal.waiting_for


def test_archived_workspace_is_left_alone(study):
    study.services.workspaces.archive(study.workspace_id, actor=study.id("anna"))
    study.change_key("anna", FRESH)
    assert shown(study).proposal is None


def test_changed_sealing_key_starts_an_epoch_and_the_recipient_of_before_is_void(study):
    job, fresh = study.accepted_job(), SealingKey.generate()
    change_sealing_key(study, fresh)
    study.services.workspaces.propose_keys("org-hospital")
    study.accept_waiting("anna", "ben", "lea")
    assert study.show(job.id).status is JobStatus.SUPERSEDED
    again = study.make_job()
    spec = study.services.jobs.spec_for_submission(again.id, actor=study.id("anna"))
    assert [each.sealing_key for each in spec.recipients] == [fresh.public.text]


def test_sealing_key_that_a_member_or_another_broker_signed_is_not_registered(study):
    for by in (study.people["anna"].key, study.organisations["laboratory"].signing):
        with pytest.raises(TrustError):
            change_sealing_key(study, SealingKey.generate(), by)
    assert study.services.workspaces.organisation("org-hospital").entry == study.organisations["hospital"].entry
