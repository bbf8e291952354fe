"""What an owner releases of a data set is what members approved by its commitment: the agent opens it, whatever a broker says."""

from dataclasses import replace

import pytest

from opaque_jobs.attestation.kbs import AUTH_PATH, attest_answer
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.row_rule import RowOperator, RowTest
from opaque_jobs.enclave.agent.admission import AdmissionError
from opaque_jobs.protocol.enclave import FailureWord
from tests.support.agent_stage import AgentStage
from tests.world import salted

OTHER_SITE = RowTest(column="site", type="int64", operator=RowOperator.EQUAL, values=("8",))
NOBODY_KNOWS = "7b" * 32


@pytest.fixture
def stage(tmp_path) -> AgentStage:
    return AgentStage(tmp_path)


def others(policy: ReleasePolicy) -> dict[str, ReleasePolicy]:
    return {
        "other rows": replace(policy, row_rule=OTHER_SITE),
        "all rows": replace(policy, row_rule=None),
        "more columns": replace(policy, columns=(*policy.columns, "hidden")),
        "fewer columns": replace(policy, columns=policy.columns[:1]),
    }


KINDS = ("other rows", "all rows", "more columns", "fewer columns")


def refusal(stage: AgentStage, **over) -> AdmissionError:
    with pytest.raises(AdmissionError) as caught:
        stage.run(**over)
    return caught.value


def test_released_policy_opens_the_approved_commitment(stage):
    _, releases = stage.run()
    assert {each.salted.commitment for each in releases.values()} == {use.policy_commitment for use in stage.spec.datasets}


@pytest.mark.parametrize("kind", KINDS)
def test_policy_changed_after_approval_is_refused_by_the_broker(stage, kind):
    stage.world.clock.forward(1)
    stage.deposit(stage.world.hospital, policy=others(stage.world.hospital.policy())[kind])
    error = refusal(stage)
    assert (error.word, error.reasons[0]) == (FailureWord.BROKER_REFUSED, "policy-changed")


@pytest.mark.parametrize("kind", KINDS)
def test_policy_changed_by_a_broker_that_gives_it_all_the_same_is_refused_by_the_agent(stage, kind):
    owner = stage.world.hospital
    lie(stage, owner, salted(others(owner.policy())[kind]))
    error = refusal(stage)
    assert (error.word, error.reasons) == (FailureWord.BROKER_REFUSED, ("policy-changed",))


def test_same_policy_with_another_salt_is_refused_by_the_agent(stage):
    lie(stage, stage.world.hospital, salted(stage.world.hospital.policy(), NOBODY_KNOWS))
    assert refusal(stage).reasons == ("policy-changed",)


def test_column_outside_the_approved_policy_is_refused_by_the_agent(stage):
    """Members approved a column that the owner's rule does not release, and the owner's broker does not mind."""
    owner, other = stage.world.hospital, stage.world.laboratory
    narrow = salted(replace(owner.policy(), columns=("id",)))
    manifest = owner.manifest(policy_commitment=narrow.commitment)
    use = owner.use(manifest_digest=manifest.digest, policy_commitment=narrow.commitment)
    stage.spec = stage.world.make_spec(datasets=(use, other.use()))
    signed = {"manifests": {use.alias: sign_manifest(manifest, owner.members[0].key).decode()}}
    signed["manifests"][other.use().alias] = stage.world.manifest_envelope(other).decode()
    lie(stage, owner, narrow)
    assert refusal(stage, **signed).reasons == ("columns-not-released",)


def lie(stage, owner, policy) -> None:
    """Let an owner's broker attest whatever it is shown, and give the keys with another policy than it holds."""

    def change(request, answer):
        if request.org_id != owner.id or request.path == AUTH_PATH:
            return answer
        body = stage.sealed_by_a_liar(owner, policy).decode() if request.method == "GET" else attest_answer(stage.token(owner))
        return replace(answer, status=200, body=body)

    stage.change = change
