"""One attack for each check of the broker's policy, each refused for its own reason; without the attack, it releases.

`attack` is called with the world, a dict of what the enclave will show, and a dict of what the broker will know.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from opaque_jobs.attestation.binding import report_data
from opaque_jobs.attestation.evidence import Evidence
from opaque_jobs.attestation.simulated import SimulatedVerifier
from opaque_jobs.broker.policy import Case, Granted, Holding, Knowledge, Refused, decide
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from tests.support.tee_policies import make_snp_policy, policies
from tests.world import MEASUREMENT, NOW, Enclave, Member, World

OTHER_DIGEST = "sha256:" + "77" * 32


@dataclass
class Attempt:
    """What is shown and known; an attack changes some of it."""

    world: World
    spec_over: dict[str, Any] = field(default_factory=dict)
    bundle_over: dict[str, Any] = field(default_factory=dict)
    case_over: dict[str, Any] = field(default_factory=dict)
    evidence_over: dict[str, Any] = field(default_factory=dict)
    known_over: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    refreshed: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    roster: Any = None
    earlier: list[Any] = field(default_factory=list)
    now: Any = NOW

    def spec(self):
        return self.world.make_spec(self.roster or self.world.make_roster(), **self.spec_over)

    def decide(self):
        world, spec = self.world, self.spec()
        roster = self.roster or world.make_roster()
        bundle = world.make_bundle(spec, roster, inputs=self.inputs, **self.bundle_over)
        enclave = Enclave(world, spec, bundle, **self.inputs)
        enclave.refreshed = self.refreshed
        enclave.manifests |= self.manifests
        verified = SimulatedVerifier([world.development_key.public]).verify(enclave.evidence("bm9uY2U="), now=NOW)
        case = Case(
            spec=spec,
            bundle=bundle,
            run_id="run-1",
            inputs=enclave.inputs,
            refreshed=enclave.refreshed,
            keys=enclave.keys,
            nonce="bm9uY2U=",
            evidence=replace(verified, **self.evidence_over),
        )
        return decide(replace(case, **self.case_over), self.knowledge(), now=self.now)

    def knowledge(self) -> Knowledge:
        home = self.world.hospital
        holding = Holding(manifest_digest=home.manifest().digest, policy=home.policy())
        return replace(
            Knowledge(
                organisation_id=home.id,
                deposit_key=home.broker.sealing.public.text,
                signing_key=home.broker.signing.public.text,
                members=tuple(member.entry for member in home.members),
                roster=None,
                earlier={each.digest: each for each in self.earlier}.get,
                withdrawals=(),
                held=frozenset(),
                lost=False,
                log_root=lambda size: self.world.log.checkpoint(size).root if size <= self.world.log.tree.size else None,
                log_seen=lambda size: NOW if size <= self.world.log.tree.size else None,
                holdings={(home.dataset_id, 1): holding},
                shared=frozenset({home.dataset_id}),
                releases=(),
                released_to=None,
            ),
            **self.known_over,
        )

    def held_back(self, until: Any) -> None:
        """Let the broker see the last approval, and no other, in the log at another time."""
        votes = self.world.votes(self.spec())
        self.bundle_over["approvals"] = votes
        for text in votes:
            self.world.log.once(EntryKind.VOTE, "ws-1", text.encode())
        last = self.world.log.tree.size
        self.known_over["log_seen"] = lambda size: NOW if size < last else until

    def leave_ben_out(self) -> None:
        """Make the next member list without ben; everybody in it signs, votes and is known."""
        before = self.world.make_roster()
        self.known_over["roster"] = before
        self.known_over["members"] = tuple(member.entry for member in self.world.hospital.members)
        self.world.hospital.members.remove(self.world.ben)
        self.roster = self.world.next_roster(before)


ATTACKS = []


def attack(*reasons: str):
    def register(function):
        ATTACKS.append(pytest.param(function, reasons, id=function.__name__))
        return function

    return register


@attack("tee-kind-not-approved")
def simulated_evidence_for_a_strict_job(a):
    a.spec_over |= {"tee_kinds": (TeeKind.SEV_SNP,), "tee_policies": policies(sev_snp=make_snp_policy())}


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


@attack("roster-not-accepted-by-all")
def roster_that_one_member_has_not_accepted(a):
    roster = a.world.make_roster()
    accepted = a.world.acceptances(roster, [a.world.anna, a.world.ben])
    a.bundle_over["acceptances"] = tuple(each.decode() for each in accepted)


@attack("acceptance-invalid")
def roster_accepted_at_another_epoch(a):
    old = a.world.make_roster(name="Older")
    a.bundle_over["acceptances"] = tuple(each.decode() for each in a.world.acceptances(old))


@attack("roster-invalid")
def roster_that_does_not_parse(a):
    a.bundle_over["roster"] = "{}"


@attack(
    "roster-not-the-jobs", "acceptance-invalid", "approval-invalid", "not-unanimous", "own-members-not-pinned",
    "author-not-a-member",
)  # fmt: skip
def roster_of_a_private_workspace(a):
    eve = Member("member-eve", a.world.hospital.id)
    private = World()
    private.hospital.members[:] = [eve]
    private.organisations = [private.hospital]
    private.log = a.world.log
    a.bundle_over["roster"] = private.make_roster(organisations=(a.world.hospital.entry,)).to_bytes().decode()


@attack("own-members-not-pinned")
def whole_workspace_made_up_by_the_platform(a):
    true_members = tuple(member.entry for member in a.world.hospital.members)
    a.world.hospital.members[:] = [Member(member.id, member.organisation_id) for member in a.world.hospital.members]
    a.world.anna, a.world.ben = a.world.hospital.members
    a.known_over["members"] = true_members


@attack("own-members-not-pinned")
def own_member_with_a_key_that_was_never_pinned(a):
    a.known_over["members"] = (a.world.anna.entry, Member(a.world.ben.id, a.world.hospital.id).entry)


@attack("own-members-not-pinned")
def broker_that_pinned_nobody(a):
    a.known_over["members"] = ()


@attack("roster-names-another-broker")
def roster_with_another_deposit_key(a):
    a.known_over["deposit_key"] = SealingKey.generate().public.text


@attack("roster-names-another-broker")
def roster_with_another_signing_key(a):
    a.known_over["signing_key"] = SigningKey.generate().public.text


@attack("roster-outdated")
def roster_of_an_earlier_epoch(a):
    a.known_over["roster"] = a.world.next_roster(a.world.make_roster())


@attack("roster-conflict")
def another_roster_of_the_same_epoch(a):
    a.roster = a.world.next_roster(a.world.make_roster())
    a.known_over["roster"] = a.world.next_roster(a.world.make_roster(), name="Fork")


@attack("roster-conflict")
def next_roster_that_does_not_follow_the_known_one(a):
    a.roster = a.world.next_roster(a.world.make_roster(), previous=OTHER_DIGEST)
    a.known_over["roster"] = a.world.make_roster()


@attack("roster-of-another-workspace")
def roster_with_another_beginning(a):
    a.known_over["roster"] = a.world.make_roster(name="Another")


@attack("own-member-left-out")
def roster_that_leaves_a_colleague_out_behind_their_back(a):
    a.leave_ben_out()


@attack("own-member-left-out")
def roster_some_epochs_later_that_leaves_a_colleague_out(a):
    a.leave_ben_out()
    a.earlier.append(a.roster)
    a.roster = a.world.next_roster(a.roster)


@attack("own-member-left-out")
def roster_at_first_contact_that_leaves_a_colleague_of_the_first_one_out(a):
    a.leave_ben_out()
    a.earlier.append(a.known_over.pop("roster"))


@attack("own-member-left-out")
def roster_at_first_contact_that_leaves_a_colleague_of_one_in_between_out(a):
    a.leave_ben_out()
    first = a.world.make_roster()
    between = a.world.next_roster(first, members=a.known_over.pop("roster").members)
    a.earlier += [first, between]
    a.roster = a.world.next_roster(between)


@attack("roster-gap")
def roster_at_first_contact_of_which_nothing_before_is_known(a):
    a.roster = a.world.next_roster(a.world.make_roster())


@attack("roster-gap")
def roster_at_first_contact_that_calls_itself_the_first_ones_and_follows_none(a):
    first = a.world.make_roster()
    a.earlier.append(first)
    a.roster = a.world.next_roster(first, epoch=7, previous=OTHER_DIGEST)


@attack("roster-gap")
def roster_at_first_contact_that_jumps_over_epochs(a):
    first = a.world.make_roster()
    a.earlier.append(first)
    a.roster = a.world.next_roster(first, epoch=7)


@attack("roster-gap")
def roster_two_epochs_later_of_which_the_one_between_is_not_known(a):
    first = a.known_over["roster"] = a.world.make_roster()
    a.roster = a.world.next_roster(a.world.next_roster(first))


@attack("roster-conflict")
def roster_at_first_contact_that_follows_another_workspaces_first_one(a):
    first = a.world.make_roster(name="Another")
    a.earlier.append(first)
    a.roster = a.world.next_roster(first, genesis=a.world.make_roster().digest)


@attack("roster-conflict")
def roster_two_epochs_later_on_another_line_than_the_known_one(a):
    first = a.world.make_roster()
    a.known_over["roster"] = a.world.next_roster(first, name="Known")
    other = a.world.next_roster(first, name="Fork")
    a.earlier += [first, other]
    a.roster = a.world.next_roster(other)


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
    a.now = NOW - timedelta(days=2)


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


@pytest.mark.parametrize(("function", "reasons"), ATTACKS)
def test_attack_is_refused_for_its_reason(function, reasons):
    attempt = Attempt(World())
    function(attempt)
    decision = attempt.decide()
    assert isinstance(decision, Refused)
    assert set(decision.reasons) == set(reasons)


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


def test_next_epoch_that_follows_the_known_one_is_granted():
    attempt = Attempt(World())
    first = attempt.world.make_roster()
    attempt.roster = attempt.world.next_roster(first)
    attempt.known_over["roster"] = first
    assert isinstance(attempt.decide(), Granted)


def test_roster_some_epochs_later_is_granted_over_those_in_between():
    attempt = Attempt(World())
    first = attempt.known_over["roster"] = attempt.world.make_roster()
    attempt.earlier.append(attempt.world.next_roster(first))
    attempt.roster = attempt.world.next_roster(attempt.earlier[-1])
    assert isinstance(attempt.decide(), Granted)


def test_roster_at_first_contact_is_granted_back_to_the_first_though_a_colleague_was_away_meanwhile():
    attempt = Attempt(World())
    world = attempt.world
    first = world.make_roster()
    without_ben = tuple(each for each in first.members if each.id != world.ben.id)
    attempt.earlier += [first, world.next_roster(first, members=without_ben)]
    attempt.roster = world.next_roster(attempt.earlier[-1])
    assert isinstance(attempt.decide(), Granted)


def test_single_run_without_reruns_is_granted_once():
    terms = RerunTerms(
        max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=("threshold",)
    )
    attempt = Attempt(World(), spec_over={"rerun_terms": terms})
    assert isinstance(attempt.decide(), Granted)
    attempt.known_over["releases"] = (NOW - timedelta(days=1),)
    assert attempt.decide() == Refused(reasons=("lease-used-up",))


def test_policy_that_releases_no_row_conditions_column_is_granted_for_the_columns_asked():
    attempt = Attempt(World())
    home = attempt.world.hospital
    policy = ReleasePolicy(columns=("id", "value", "hidden"), row_conditions=())
    attempt.known_over["holdings"] = {(home.dataset_id, 1): Holding(manifest_digest=home.manifest().digest, policy=policy)}
    assert attempt.decide().columns == {(home.dataset_id, 1): ("id", "value")}


def test_evidence_of_the_wrong_lengths_is_refused():
    short = Evidence(kind=TeeKind.SIMULATED, measurement=MEASUREMENT, report_data=b"", init_data=b"")
    decision = Attempt(World(), case_over={"evidence": short}).decide()
    assert set(decision.reasons) == {"keys-not-bound", "run-not-bound"}


def test_roster_without_a_colleague_whom_the_organisation_let_go_is_taken():
    attempt = Attempt(World())
    attempt.leave_ben_out()
    attempt.known_over["members"] = (attempt.world.anna.entry,)
    assert isinstance(attempt.decide(), Granted)
