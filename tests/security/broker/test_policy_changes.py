"""One policy a data set: changed by its owner alone, read by its owner alone, and never back to what it was before."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.app import create_app
from opaque_jobs.broker.questions import answer_policy
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.policies import (
    PolicyQuestion,
    answer_question,
    open_answer,
    sign_question,
    sign_released,
    verify_released,
)
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.errors import NotFoundError, TrustError
from tests.support.broker_stage import Stage
from tests.support.sealed_run import AppTransport
from tests.world import salted

ONLY_IDS = ReleasePolicy(columns=("id",), row_rule=None)
ASKER = SealingKey(b"\x07" * 32)


@pytest.fixture
def stage(tmp_path) -> Stage:
    stage = Stage(tmp_path)
    stage.deposit()
    stage.share()
    return stage


def question(stage, **over) -> PolicyQuestion:
    home = stage.world.hospital
    given = {"v": 1, "dataset_id": home.dataset_id, "organisation_id": home.id, "answer_to": ASKER.public.text}
    return PolicyQuestion(**({**given, "issued_at": stage.world.clock.now.isoformat()} | over))


def asked(stage, of=None, signer=None) -> ReleasePolicy:
    of = of or question(stage)
    envelope = sign_question(of, signer or stage.world.anna.key)
    answer = answer_policy(stage.broker, canonical_bytes({"question": envelope.decode()}))
    return open_answer(answer, of, ASKER, broker=stage.world.hospital.broker.signing.public).policy


def test_policy_of_a_refresh_counts_for_the_versions_before_it(stage):
    """An accepted job on version 1 does not go on under rules that its owner has taken back."""
    home, world = stage.world.hospital, stage.world
    world.clock.forward(1)
    root, over = replace(home.root, version=2), {"dataset_version": 2, "policy_commitment": salted(ONLY_IDS).commitment}
    manifest = home.manifest(**over)
    deposit = world.deposit(home, manifest=manifest, root=root, policy=ONLY_IDS)
    stage.deposit(deposit, world.manifest_envelope(home, **over))

    assert stage.run(stage.enclave()).reasons == ("policy-changed", "columns-not-released")
    assert asked(stage) == ONLY_IDS


def test_policy_asked_by_its_owner_is_the_one_deposited(stage):
    assert asked(stage) == stage.world.hospital.policy()
    assert asked(stage, signer=stage.world.ben.key) == stage.world.hospital.policy()


def test_policy_is_asked_over_the_brokers_own_route(stage):
    client = BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(stage.broker)))
    home, asking = stage.world.hospital, question(stage)

    answer = client.ask_policy(sign_question(asking, stage.world.anna.key))

    assert open_answer(answer, asking, ASKER, broker=home.broker.signing.public).policy == home.policy()
    with pytest.raises(TrustError):
        client.ask_policy(sign_question(asking, stage.world.carl.key))


def test_policy_is_told_to_nobody_but_the_owner(stage):
    with pytest.raises(TrustError):
        asked(stage, signer=stage.world.carl.key)
    with pytest.raises(TrustError):
        asked(stage, question(stage, organisation_id="org-laboratory"), signer=stage.world.anna.key)
    with pytest.raises(NotFoundError):
        asked(stage, question(stage, dataset_id="ds-other"))
    old = question(stage)
    stage.world.clock.forward(3600)
    with pytest.raises(TrustError, match="too old"):
        asked(stage, old)


def test_policy_answer_by_somebody_else_or_to_another_question_is_not_believed(stage):
    home, asking = stage.world.hospital, question(stage)
    broker = home.broker.signing
    for answer in (
        answer_question(asking, salted(ONLY_IDS), stage.world.carl.key),
        answer_question(replace(asking, dataset_id="ds-other"), salted(ONLY_IDS), broker),
        answer_question(replace(asking, answer_to=SealingKey.generate().public.text), salted(ONLY_IDS), broker),
    ):
        with pytest.raises(TrustError):
            open_answer(answer, asking, ASKER, broker=broker.public)


def test_released_columns_by_a_stranger_or_of_another_organisation_are_refused(stage):
    world, home = stage.world, stage.world.hospital
    keys = {world.anna.key.public.key_id: world.anna.key.public}
    about = {"dataset_id": home.dataset_id, "organisation_id": home.id, "now": world.clock.now}
    good = sign_released(("id",), world.anna.key, **about)

    assert verify_released(good, keys, organisation_id=home.id).columns == ("id",)
    with pytest.raises(TrustError):
        verify_released(sign_released(("id",), world.carl.key, **about), keys, organisation_id=home.id)
    with pytest.raises(TrustError):
        verify_released(good, keys, organisation_id="org-laboratory")
