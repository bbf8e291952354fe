"""Newer versions at the broker: only where the signed terms follow refreshes, of the same owner and columns, and proved."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.policy import Granted, Holding, Refused
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.domain.dataset import Column
from tests.support.release_attempt import OTHER_DIGEST, Attempt
from tests.world import Member, World, salted

ALIAS = "data_org_hospital"


class RefreshAttempt(Attempt):
    """The hospital's data set has a second version; the job follows it unless told otherwise."""

    def __init__(self, world):
        super().__init__(world)
        self.follow(ALIAS)
        self.show(world.hospital.manifest(dataset_version=2))

    def follow(self, *aliases):
        self.spec_over["rerun_terms"] = replace(self.world.make_spec().rerun_terms, follows=aliases)

    def show(self, manifest, signer=None, *, alias=ALIAS):
        key = signer or self.world.hospital.members[0].key
        self.refreshed = {alias: sign_manifest(manifest, key).decode()}
        self.manifests = {alias: manifest.digest}
        held = Holding(manifest_digest=manifest.digest, salted=salted(self.world.hospital.policy()))
        first = Holding(manifest_digest=self.world.hospital.manifest().digest, salted=salted(self.world.hospital.policy()))
        self.known_over["holdings"] = {
            (manifest.dataset_id, manifest.dataset_version): held,
            (self.world.hospital.dataset_id, 1): first,
        }


@pytest.fixture
def case():
    return RefreshAttempt(World())


def test_newer_version_of_a_followed_data_set_is_granted_with_its_own_key(case):
    decision = case.decide()
    assert isinstance(decision, Granted)
    assert decision.columns == {("ds-org-hospital", 2): ("id", "value", "site")}


def test_named_version_of_a_followed_data_set_is_granted(case):
    case.refreshed, case.manifests = {}, {}
    assert case.decide().columns == {("ds-org-hospital", 1): ("id", "value", "site")}


def test_newer_version_of_a_data_set_that_is_not_followed_is_refused(case):
    case.follow()
    assert "version-not-covered" in case.decide().reasons


def test_newer_version_of_another_data_set_than_is_followed_is_refused(case):
    case.follow("data_org_laboratory")
    assert "version-not-covered" in case.decide().reasons


@pytest.mark.parametrize(
    "over",
    [
        {"dataset_version": 2, "columns": (Column(name="id", type="int64"), Column(name="value", type="int64"))},
        {"dataset_version": 2, "columns": tuple(Column(name=name, type="string") for name in ("id", "value", "site", "hidden"))},
        {"dataset_version": 2, "policy_commitment": OTHER_DIGEST},
        {"dataset_version": 2, "dataset_id": "ds-other"},
        {"dataset_version": 1},
        {"dataset_version": 1, "created_at": "2026-02-01T00:00:00+00:00"},
    ],
)
def test_version_that_differs_in_more_than_its_number_is_refused(case, over):
    case.show(case.world.hospital.manifest(**over))
    assert "version-not-covered" in case.decide().reasons


def test_newer_version_that_another_organisation_signed_is_refused(case):
    case.show(case.world.hospital.manifest(dataset_version=2), case.world.carl.key)
    assert "version-not-covered" in case.decide().reasons


def test_newer_version_that_names_another_owner_is_refused(case):
    case.show(case.world.hospital.manifest(dataset_version=2, organisation_id="org-laboratory"), case.world.carl.key)
    assert "version-not-covered" in case.decide().reasons


def test_newer_version_that_a_stranger_signed_is_refused(case):
    stranger = Member(case.world.anna.id, case.world.hospital.id)
    case.show(case.world.hospital.manifest(dataset_version=2), stranger.key)
    assert "version-not-covered" in case.decide().reasons


def test_newer_version_that_the_broker_does_not_hold_is_refused(case):
    del case.known_over["holdings"][case.world.hospital.dataset_id, 2]
    assert case.decide() == Refused(reasons=("dataset-unknown",))


def test_newer_version_with_another_manifest_than_was_deposited_is_refused(case):
    held = case.known_over["holdings"]
    held[case.world.hospital.dataset_id, 2] = replace(held[case.world.hospital.dataset_id, 2], manifest_digest=OTHER_DIGEST)
    assert case.decide() == Refused(reasons=("manifest-mismatch",))


def test_newer_version_that_the_evidence_is_not_about_is_refused(case):
    case.manifests = {}
    assert case.decide() == Refused(reasons=("run-not-bound",))


def test_evidence_about_a_newer_version_that_is_not_shown_is_refused(case):
    case.refreshed = {}
    assert case.decide() == Refused(reasons=("run-not-bound",))


def test_newer_version_of_the_other_owner_must_be_proved_here_too(case):
    case.follow("data_org_laboratory")
    newer = case.world.laboratory.manifest(dataset_version=2)
    case.show(newer, case.world.carl.key, alias="data_org_laboratory")
    assert case.decide().columns == {("ds-org-hospital", 1): ("id", "value", "site")}
    case.show(newer, case.world.anna.key, alias="data_org_laboratory")
    assert "version-not-covered" in case.decide().reasons
