"""What a broker is told of member lists, sharings and deposits: nothing old, of others or by strangers is taken."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.config import believe_simulated, disbelieve_simulated, unpin_member
from opaque_jobs.broker.release import Sealed, Token
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import ConflictError, InvalidInputError, TrustError


def test_unsharing_stops_a_proven_enclave_and_an_old_sharing_brings_nothing_back(stage):
    old = stage.world.sharing(stage.world.hospital)
    session, _ = stage.attest(stage.enclave())
    stage.world.clock.forward(1)
    stage.share(shared=False)
    assert stage.release(session).reasons == ("dataset-not-shared",)
    with pytest.raises(TrustError, match="older"):
        stage.tell(sharings=[old])
    assert stage.run(stage.enclave()).reasons == ("dataset-not-shared",)
    stage.world.clock.forward(1)
    stage.share()
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_sharing_into_another_beginning_of_the_workspace_does_not_count(stage):
    stage.share(shared=False)
    stage.share(workspace_genesis="sha256:" + "99" * 32)
    assert stage.run(stage.enclave()).reasons == ("dataset-not-shared",)


def test_new_epoch_stops_a_proven_enclave_of_the_old_one(stage):
    session, _ = stage.attest(stage.enclave())
    stage.tell(roster=stage.world.next_roster(stage.world.make_roster()))
    assert stage.release(session).reasons == ("roster-outdated",)


def test_old_roster_cannot_be_told_again(stage):
    stage.tell(roster=stage.world.next_roster(stage.world.make_roster()))
    with pytest.raises(TrustError) as caught:
        stage.tell()
    assert caught.value.facts["reasons"] == "roster-outdated"


def test_epoch_seen_in_a_release_is_remembered(stage):
    roster = stage.world.next_roster(stage.world.make_roster())
    stage.spec = stage.world.make_spec(roster)
    stage.bundle = stage.world.make_bundle(stage.spec, roster)
    assert isinstance(stage.run(stage.enclave()), Sealed)
    stage.spec = stage.world.make_spec(revision=2)
    stage.bundle = stage.world.make_bundle(stage.spec)
    assert "roster-outdated" in stage.run(stage.enclave("run-2")).reasons


def test_member_removed_from_the_pins_stops_release_without_a_restart(stage):
    home = stage.world.hospital
    stage.world.make_broker(home, stage.folder, members=(stage.world.anna.entry,))
    assert stage.run(stage.enclave()).reasons == ("own-members-not-pinned",)


@pytest.mark.parametrize("signer", ["carl", "stranger"])
def test_sharing_by_somebody_else_is_refused(stage, signer):
    key = stage.world.carl.key if signer == "carl" else SigningKey.generate()
    with pytest.raises(TrustError):
        stage.share(signer=key)


def test_sharing_for_another_organisation_is_refused(stage):
    with pytest.raises(TrustError):
        stage.share(organisation_id="org-laboratory")


@pytest.mark.parametrize("issued_at", ["2016-01-01T00:00:00+00:00", "2125-01-01T00:00:00+00:00"])
def test_data_set_is_taken_back_when_that_comes_whatever_its_date_says(stage, issued_at):
    stage.share(shared=False, issued_at=issued_at)
    assert stage.run(stage.enclave()).reasons == ("dataset-not-shared",)


def test_sharing_dated_ahead_in_the_log_does_not_outlive_its_taking_back(stage):
    ahead = stage.world.sharing(stage.world.hospital, issued_at="2125-01-01T00:00:00+00:00")
    stage.world.log.append(EntryKind.SHARING, "ds-org-hospital", ahead)
    stage.world.follow(stage.broker)
    stage.share(shared=False)
    stage.world.log.append(EntryKind.SHARING, "ds-org-hospital", ahead)
    stage.world.follow(stage.broker)
    assert stage.run(stage.enclave()).reasons == ("dataset-not-shared",)


def test_taking_back_that_a_sharing_named_is_not_brought_back_by_repeating_it(stage):
    back = stage.world.sharing(stage.world.hospital, shared=False)
    stage.tell(sharings=[back])
    stage.share()
    with pytest.raises(TrustError, match="older"):
        stage.tell(sharings=[back])
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_data_set_is_taken_back_though_what_comes_with_it_is_not_believed(stage):
    back = stage.world.sharing(stage.world.hospital, shared=False)
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(sharings=[back], roster=stage.world.next_roster(stage.world.make_roster()), acceptances=[])
    assert stage.run(stage.enclave()).reasons == ("dataset-not-shared",)


def test_key_of_a_simulator_that_is_forgotten_ends_what_it_has_proven(stage):
    other = SigningKey.generate().public
    believe_simulated(stage.folder, other, stage.world.hospital.broker)
    session, answer = stage.attest(stage.enclave())
    assert isinstance(answer, Token)
    disbelieve_simulated(stage.folder, stage.world.development_key.public, stage.world.hospital.broker)
    assert stage.release(session).reasons == ("tee-kind-not-accepted",)


def test_member_let_go_ends_what_was_proven_with_their_approval(stage):
    session, _ = stage.attest(stage.enclave())
    unpin_member(stage.folder, stage.world.ben.id, stage.world.hospital.broker)
    assert stage.release(session).reasons == ("own-members-not-pinned",)


def test_statements_are_kept_all_or_none(stage):
    bad = stage.world.sharing(stage.world.hospital, signer=SigningKey.generate())
    with pytest.raises(TrustError):
        stage.tell(roster=stage.world.next_roster(stage.world.make_roster()), sharings=[bad])
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_roster_with_a_missing_acceptance_is_not_remembered(stage):
    roster = stage.world.next_roster(stage.world.make_roster())
    with pytest.raises(TrustError):
        stage.tell(roster=roster, acceptances=stage.world.acceptances(roster, [stage.world.anna]))
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_deposit_is_sealed_at_rest_and_policy_too(stage):
    raw = b"".join(path.read_bytes() for path in stage.folder.iterdir())
    assert stage.world.hospital.root.secret not in raw
    assert b"row_rule" not in raw
    assert (stage.folder / "broker.db").stat().st_mode & 0o077 == 0


def test_later_deposit_replaces_the_policy_but_never_the_key(stage):
    stage.world.clock.forward(1)
    stage.deposit(stage.world.deposit(stage.world.hospital, policy=ReleasePolicy(columns=("id",), row_rule=None)))
    assert stage.run(stage.enclave()).reasons == ("policy-changed", "columns-not-released")
    root = replace(stage.world.hospital.root, secret=bytes(32))
    stage.world.clock.forward(1)
    with pytest.raises(ConflictError, match="another key"):
        stage.deposit(stage.world.deposit(stage.world.hospital, root=root))


def test_older_deposit_does_not_bring_an_old_policy_back(stage):
    old = stage.world.deposit(stage.world.hospital)
    stage.world.clock.forward(1)
    stage.deposit(stage.world.deposit(stage.world.hospital, policy=ReleasePolicy(columns=("id",), row_rule=None)))
    with pytest.raises(ConflictError, match="later"):
        stage.deposit(old)


@pytest.mark.parametrize("case", ["signer", "broker", "manifest", "organisation", "future"])
def test_deposit_that_is_not_for_this_broker_is_refused(stage, case):
    world, home = stage.world, stage.world.hospital
    envelope, manifest = world.deposit(home), world.manifest_envelope(home)
    if case == "signer":
        envelope = world.deposit(home, signer=world.carl.key)
    elif case == "broker":
        envelope = world.deposit(home, broker=SealingKey.generate().public)
    elif case == "manifest":
        manifest = world.manifest_envelope(home, rows=3, created_at="2026-01-16T00:00:00+00:00")
    elif case == "organisation":
        envelope = world.deposit(world.laboratory, signer=world.anna.key)
    else:
        world.clock.forward(3600)
        envelope = world.deposit(home)
        world.clock.forward(-3600)
    with pytest.raises(TrustError):
        stage.deposit(envelope, manifest)


def test_policy_about_columns_that_do_not_exist_is_refused(stage):
    home = stage.world.hospital
    for columns in [(), ("id", "id"), ("id", "nothing")]:
        with pytest.raises(InvalidInputError):
            stage.world.deposit(home, policy=ReleasePolicy(columns=columns, row_rule=None))


@pytest.mark.parametrize("over", [{"dataset_id": "ds-other"}, {"version": 2}])
def test_key_of_another_dataset_version_is_not_deposited(stage, over):
    root = replace(stage.world.hospital.root, **over)
    with pytest.raises(InvalidInputError, match="another dataset version"):
        stage.world.deposit(stage.world.hospital, root=root)
