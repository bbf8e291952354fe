"""One attack for each check of the broker's policy, each refused for its own reason; without the attack, it releases.

Those about member lists are in `test_broker_list_attacks`.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from opaque_jobs.attestation.binding import report_data
from opaque_jobs.attestation.evidence import Evidence
from opaque_jobs.broker.policy import Granted, Holding, Refused
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from tests.support.release_attempt import OTHER_DIGEST, Attacks, Attempt, refused_for
from tests.support.tee_policies import make_snp_policy, on_hardware
from tests.world import MEASUREMENT, NOW, Enclave, Member, World, salted

attack = Attacks()


@attack("tee-kind-not-approved")
def simulated_evidence_for_a_strict_job(a):
    a.spec_over |= on_hardware(sev_snp=make_snp_policy())


@attack("measurement-not-approved")
def another_runtime(a):
    a.evidence_over["measurement"] = OTHER_DIGEST


@attack("keys-not-bound")
def sealing_key_swapped_by_the_relay(a):
    enclave = Enclave(a.world, a.spec(), a.world.make_bundle(a.spec()))
    a.case_over["keys"] = replace(enclave.keys, sealing=SealingKey.generate().public)


@attack("keys-not-bound")
def signing_key_swapped_by_the_relay(a):
    enclave = Enclave(a.world, a.spec(), a.world.make_bundle(a.spec()))
    a.evidence_over["report_data"] = report_data(nonce="bm9uY2U=", keys=enclave.keys, init_data=enclave.run_facts)
    a.case_over["keys"] = replace(enclave.keys, signing=SigningKey.generate().public)


@attack("keys-not-bound")
def evidence_over_another_nonce(a):
    a.case_over["nonce"] = "b3RoZXI="


@attack("run-not-bound", "run-not-in-log")
def evidence_of_another_run(a):
    a.case_over["run_id"] = "run-2"


@attack("run-not-bound", "run-not-in-log")
def evidence_over_other_inputs(a):
    a.case_over["inputs"] = {"threshold": 6, "fixed": 7}


@attack("run-not-bound")
def evidence_of_another_bundle(a):
    a.case_over["bundle"] = a.world.make_bundle(a.spec())  # fresh nonces in the votes


@attack("approval-invalid", "not-unanimous")
def evidence_and_approvals_of_another_job(a):
    a.case_over["spec"] = a.world.make_spec(description="something else")


@attack("approval-invalid", "not-unanimous")
def inputs_of_a_job_that_nobody_approved_are_not_looked_at(a):
    # A pattern of its author's could keep the broker from its owner's hold for hours.
    a.case_over["spec"] = a.world.make_spec(description="something else")
    a.case_over["inputs"] = {"threshold": 101, "fixed": 7}


@attack("inputs-invalid")
def input_outside_its_constraints(a):
    a.case_over["inputs"] = {"threshold": 101, "fixed": 7}


@attack("inputs-invalid")
def input_that_is_not_declared(a):
    a.case_over["inputs"] = {"threshold": 5, "fixed": 7, "extra": 1}


@attack("input-not-variable")
def input_that_nobody_approved_to_vary(a):
    a.inputs["fixed"] = 8


@attack("not-unanimous")
def vote_missing(a):
    a.bundle_over["approvals"] = a.world.votes(a.spec(), [a.world.anna, a.world.carl])


@attack("not-unanimous")
def one_member_votes_for_all(a):
    a.bundle_over["approvals"] = a.world.votes(a.spec(), [a.world.anna] * 3)


@attack("rejected", "not-unanimous")
def vote_that_rejects(a):
    world, spec = a.world, a.spec()
    rejection = world.votes(spec, [world.carl], decision=Decision.REJECT)
    a.bundle_over["approvals"] = world.votes(spec, [world.anna, world.ben]) + rejection


@attack("rejected")
def rejection_beside_an_approval_of_the_same_member(a):
    spec = a.spec()
    a.bundle_over["approvals"] = a.world.votes(spec) + a.world.votes(spec, [a.world.carl], decision=Decision.REJECT)


@attack("approval-invalid", "not-unanimous")
def vote_by_a_key_that_left(a):
    world, spec = a.world, a.spec()
    old = Member(world.carl.id, world.carl.organisation_id)
    a.bundle_over["approvals"] = world.votes(spec, [world.anna, world.ben, old])


@attack("approval-invalid")
def vote_of_a_stranger_beside_all_others(a):
    spec = a.spec()
    a.bundle_over["approvals"] = a.world.votes(spec) + a.world.votes(spec, [Member("member-eve", "org-eve")])


@attack("approval-invalid", "not-unanimous")
def vote_for_another_revision(a):
    a.bundle_over["approvals"] = a.world.votes(a.world.make_spec(revision=2))


@attack("consent-withdrawn")
def more_withdrawals_than_the_broker_keeps(a):
    a.known_over["withdrawals"] = None


@attack("consent-withdrawn")
def withdrawal_in_the_bundle(a):
    a.bundle_over["withdrawals"] = (a.world.withdrawal(a.spec(), a.world.carl).decode(),)


@attack("consent-withdrawn")
def withdrawal_that_only_the_broker_knows(a):
    a.known_over["withdrawals"] = (a.world.withdrawal(a.spec(), a.world.carl),)


@attack("approval-invalid", "not-unanimous")
def approvals_signed_after_the_reviews_deadline(a):
    a.spec_over["review_until"] = (NOW - timedelta(seconds=1)).isoformat()


@attack("approval-too-late")
def approval_signed_in_time_and_held_back_until_after_the_deadline(a):
    a.spec_over["review_until"] = (NOW + timedelta(hours=1)).isoformat()
    a.held_back(NOW + timedelta(hours=2))


@attack("approval-too-late")
def approval_in_a_log_that_the_broker_was_never_shown_so_far(a):
    a.spec_over["review_until"] = (NOW + timedelta(hours=1)).isoformat()
    a.held_back(None)


@attack("lease-used-up", "lease-interval")
def run_beyond_the_lease(a):
    a.known_over["releases"] = (NOW, NOW)


@attack("lease-used-up")
def run_after_the_lease_is_used_up(a):
    a.known_over["releases"] = (NOW - timedelta(hours=2), NOW - timedelta(hours=1))


@attack("lease-interval")
def run_too_soon_after_the_last(a):
    a.known_over["releases"] = (NOW - timedelta(seconds=59),)


@attack("lease-not-begun")
def run_before_the_lease(a):
    a.now = a.known_over["latest"] = NOW - timedelta(days=2)


@attack("lease-ended")
def run_after_the_lease(a):
    a.now = NOW + timedelta(days=31)


@attack("already-released")
def second_enclave_for_the_same_run(a):
    a.known_over["released_to"] = OTHER_DIGEST


@attack("dataset-unknown")
def dataset_that_was_never_deposited(a):
    a.known_over["holdings"] = {}


@attack("dataset-unknown")
def another_version_of_the_dataset(a):
    world = a.world
    a.spec_over["datasets"] = (world.hospital.use(dataset_version=2), world.laboratory.use())


@attack("manifest-mismatch")
def dataset_with_another_manifest(a):
    a.spec_over["datasets"] = (a.world.hospital.use(manifest_digest=OTHER_DIGEST),)


@attack("columns-not-released")
def column_outside_the_owners_policy(a):
    a.spec_over["datasets"] = (a.world.hospital.use(columns=("id", "hidden")),)


@attack("columns-not-released")
def column_of_a_row_condition_that_may_not_be_read(a):
    a.spec_over["datasets"] = (a.world.hospital.use(columns=("id", "site")),)


@attack("policy-changed")
def rows_other_than_members_approved(a):
    a.spec_over["datasets"] = (a.world.hospital.use(policy_commitment=OTHER_DIGEST),)


@attack("policy-changed")
def policy_of_the_same_words_with_another_salt(a):
    home = a.world.hospital
    held = Holding(manifest_digest=home.manifest().digest, salted=salted(home.policy(), "7b" * 32))
    a.known_over["holdings"] = {(home.dataset_id, 1): held}


@attack("dataset-not-shared")
def dataset_that_was_taken_back(a):
    a.known_over["shared"] = frozenset()


@attack("dataset-not-shared")
def dataset_shared_elsewhere_only(a):
    a.known_over["shared"] = frozenset({a.world.laboratory.dataset_id})


@attack("no-dataset-here")
def job_without_a_dataset_of_this_owner(a):
    a.spec_over["datasets"] = (a.world.laboratory.use(),)


@attack("no-dataset-here")
def dataset_of_this_owner_said_to_be_anothers(a):
    a.spec_over["datasets"] = (a.world.hospital.use(organisation_id=a.world.laboratory.id),)


@attack("recipient-not-the-authors-organisation")
def result_sealed_to_somebody_else(a):
    recipient = a.world.make_spec().recipients[0]
    a.spec_over["recipients"] = (replace(recipient, organisation_id=a.world.laboratory.id),)


@pytest.mark.parametrize(("function", "reasons"), attack.params)
def test_attack_is_refused_for_its_reason(function, reasons):
    refused_for(function, reasons)


def test_case_without_an_attack_is_granted_with_the_columns_it_needs():
    attempt = Attempt(World())
    decision = attempt.decide()
    assert isinstance(decision, Granted)
    assert decision.columns == {("ds-org-hospital", 1): ("id", "value", "site")}


def test_variable_input_within_its_constraints_is_granted():
    assert isinstance(Attempt(World(), inputs={"threshold": 42}).decide(), Granted)


def test_review_that_was_complete_in_time_is_granted_after_its_deadline():
    attempt = Attempt(World(), spec_over={"review_until": NOW.isoformat()}, now=NOW + timedelta(days=1))
    assert isinstance(attempt.decide(), Granted)


def test_single_run_without_reruns_is_granted_once():
    terms = RerunTerms(
        max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=("threshold",)
    )
    attempt = Attempt(World(), spec_over={"rerun_terms": terms})
    assert isinstance(attempt.decide(), Granted)
    attempt.known_over["releases"] = (NOW - timedelta(days=1),)
    assert attempt.decide() == Refused(reasons=("lease-used-up",))


def test_policy_that_releases_no_row_rules_column_is_granted_for_the_columns_asked():
    attempt = Attempt(World())
    home = attempt.world.hospital
    policy = ReleasePolicy(columns=("id", "value", "hidden"), row_rule=None)
    approved = home.use(policy_commitment=salted(policy).commitment)
    attempt.spec_over["datasets"] = (approved, attempt.world.laboratory.use())
    attempt.known_over["holdings"] = {
        (home.dataset_id, 1): Holding(manifest_digest=home.manifest().digest, salted=salted(policy))
    }
    assert attempt.decide().columns == {(home.dataset_id, 1): ("id", "value")}


def test_evidence_of_the_wrong_lengths_is_refused():
    short = Evidence(kind=TeeKind.SIMULATED, measurement=MEASUREMENT, report_data=b"", init_data=b"")
    decision = Attempt(World(), case_over={"evidence": short}).decide()
    assert set(decision.reasons) == {"keys-not-bound", "run-not-bound"}
