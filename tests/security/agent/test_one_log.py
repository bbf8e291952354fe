"""A keeper of the log who shows it differently to different brokers is found by the agent, before any key is asked for."""

from dataclasses import replace

import pytest

from opaque_jobs.attestation.kbs import ATTEST_PATH, LOG_KEEPER, attest_answer, consistency_answer
from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.enclave.agent.admission import AdmissionError
from opaque_jobs.protocol.enclave import FailureWord
from tests.support.agent_stage import AgentStage
from tests.support.log_keeper import LogKeeper

FORKED = (FailureWord.BROKER_REFUSED, ("log-shown-differently",))
INVALID = (FailureWord.BROKER_REFUSED, ("attestation-result-invalid",))


@pytest.fixture
def stage(tmp_path) -> AgentStage:
    return AgentStage(tmp_path)


def refusal(stage: AgentStage) -> tuple[FailureWord, tuple[str, ...]]:
    asked = []
    inner = stage.change

    def change(request, answer):
        asked.append(request.path)
        return inner(request, answer)

    stage.change = change
    with pytest.raises(AdmissionError) as caught:
        stage.run()
    assert not [path for path in asked if path.startswith("/kbs/v0/resource")]
    return caught.value.word, caught.value.reasons


def grow_between_brokers(stage: AgentStage, *logs: LogKeeper) -> None:
    """Let other things happen in the workspace while the run's brokers are asked one after the other."""

    def change(request, answer):
        if request.path == ATTEST_PATH:
            for number, log in enumerate(logs):
                log.append(EntryKind.SUBMISSION, f"job-{number}")
        return answer

    stage.change = change


def fork_after_the_approvals(stage: AgentStage) -> LogKeeper:
    """Fork the log when it holds all that the run needs: each of the two goes on with something else."""
    stage.approved()
    other = stage.world.log.fork()
    stage.world.log.append(EntryKind.SUBMISSION, "job-2")
    other.append(EntryKind.WITHDRAWAL, "job-3")
    return other


def test_brokers_that_followed_one_log_to_different_sizes_give_keys_and_the_agent_keeps_the_proof(stage):
    grow_between_brokers(stage, stage.world.log)
    brokers, releases = stage.run()
    assert len(releases) == 2
    heads = brokers.attested.log_heads
    sizes = [int(each.seen.split()[0]) for each in heads]
    assert sizes[1] == sizes[0] + 1
    assert [each.organisation_id for each in heads] == ["org-hospital", "org-laboratory"]
    assert heads[1].path


def test_fork_of_the_log_shown_to_one_broker_is_refused(stage):
    other = fork_after_the_approvals(stage)
    assert other.tree.size == stage.world.log.tree.size
    stage.logs["org-laboratory"] = other
    assert refusal(stage) == FORKED


@pytest.mark.parametrize("prover", ["org-hospital", "org-laboratory"])
def test_longer_fork_is_refused_whichever_log_the_proof_is_from(stage, prover):
    other = fork_after_the_approvals(stage)
    other.append(EntryKind.SUBMISSION, "job-4")
    stage.logs["org-laboratory"] = other
    stage.logs[LOG_KEEPER] = {"org-hospital": stage.world.log, "org-laboratory": other}[prover]
    assert refusal(stage) == FORKED


@pytest.mark.parametrize(
    "body",
    [
        consistency_answer([]),
        consistency_answer([bytes(32)]),
        consistency_answer([b"short"]),
        canonical_bytes({"path": ["no hash"]}).decode(),
        canonical_bytes({"path": [1]}).decode(),
        canonical_bytes({"path": None}).decode(),
        "",
    ],
)
def test_brokers_of_different_sizes_without_a_proof_that_holds_are_refused(stage, body):
    grow_between_brokers(stage, stage.world.log)
    grow = stage.change
    stage.change = lambda request, answer: replace(answer, body=body) if request.org_id == LOG_KEEPER else grow(request, answer)
    assert refusal(stage) == FORKED


def told(stage: AgentStage, **over) -> None:
    """Let the carrier put another attestation result in the place of the hospital's."""

    def change(request, answer):
        if request.path == ATTEST_PATH and request.org_id == "org-hospital":
            return replace(answer, body=attest_answer(stage.token(stage.world.hospital, **over)))
        return answer

    stage.change = change


def another_logs_note(stage: AgentStage) -> str:
    other = Checkpoint(origin=log_origin("ws-2"), size=stage.world.log.tree.size, root=stage.world.log.tree.root)
    return sign_checkpoint(other, stage.world.log.key)


@pytest.mark.parametrize(
    "over",
    [
        {"log_head": ""},
        {"log_head": "x"},
        {"key": SigningKey.generate()},
        {"verifier": "org-laboratory"},
        {"nonce": "b3RoZXI="},
        {"tee_key_id": "sha256:" + "77" * 32},
        {"job_digest": "sha256:" + "77" * 32},
        {"run_id": "run-2"},
    ],
)
def test_attestation_result_that_is_not_this_brokers_for_this_run_with_a_head_is_refused(stage, over):
    told(stage, **over)
    assert refusal(stage) == INVALID


def test_head_of_another_workspaces_log_is_refused(stage):
    stage.approved()
    told(stage, log_head=another_logs_note(stage))
    assert refusal(stage) == INVALID


def test_head_that_the_log_did_not_sign_is_refused(stage):
    stage.approved()
    told(stage, log_head=sign_checkpoint(stage.world.log.checkpoint(), SigningKey.generate()))
    assert refusal(stage) == INVALID


def test_older_head_than_the_approvals_proof_is_refused(stage):
    """An old state of the very log: a broker that had followed no further knew nothing of this run."""
    stage.approved()
    told(stage, log_head=stage.world.log.note(1))
    assert refusal(stage) == FORKED


def test_carrier_that_strips_the_attestation_result_is_refused(stage):
    stage.change = lambda request, answer: replace(answer, body=attest_answer("")) if request.path == ATTEST_PATH else answer
    assert refusal(stage) == INVALID


def test_attestation_result_of_an_earlier_run_is_refused(stage):
    """A head that was true once, signed by the right broker, for other keys."""
    stage.run()
    old = stage.token(stage.world.hospital)
    hers = (ATTEST_PATH, "org-hospital")
    stage.change = lambda request, answer: (
        replace(answer, status=200, body=attest_answer(old)) if (request.path, request.org_id) == hers else answer
    )
    assert refusal(stage) == INVALID
