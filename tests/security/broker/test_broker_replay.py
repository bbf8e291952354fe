"""The replayer and the crash: nonces, sessions, evidence and releases, through the broker itself."""

import itertools
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from opaque_jobs.attestation.kbs import attest_body
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.policy import NONCE_LIFETIME_S, Refused
from opaque_jobs.broker.release import Sealed, Token
from opaque_jobs.broker.sessions import MAX_OF_PEER, Sessions
from opaque_jobs.crypto.custody import open_release, release_info
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from tests.world import Enclave, World


def test_honest_enclave_gets_its_keys(stage):
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_nonce_is_good_once_even_after_a_refusal(stage):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    enclave = stage.enclave()
    body = attest_body(enclave.request(nonce)).encode()
    wrong = attest_body(enclave.request(nonce, run_id="run-2")).encode()
    assert stage.broker.attest(session, wrong).reasons == ("run-not-bound", "run-not-in-log")
    assert stage.broker.attest(session, body).reasons == ("session-unknown-or-expired",)


def test_nonce_is_good_once_after_success(stage):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    body = attest_body(stage.enclave().request(nonce)).encode()
    assert isinstance(stage.broker.attest(session, body), Token)
    assert stage.broker.attest(session, body).reasons == ("session-unknown-or-expired",)


@pytest.mark.parametrize(("waited", "accepted"), [(119, True), (120, False), (100_000, False)])
def test_nonce_ends_after_two_minutes(stage, waited, accepted):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    stage.world.clock.forward(waited)
    answer = stage.broker.attest(session, attest_body(stage.enclave().request(nonce)).encode())
    assert isinstance(answer, Token) is accepted


@pytest.mark.parametrize(("waited", "accepted"), [(299, True), (300, False)])
def test_proof_ends_after_five_minutes(stage, waited, accepted):
    session, _ = stage.attest(stage.enclave())
    stage.world.clock.forward(waited)
    assert isinstance(stage.release(session), Sealed) is accepted


def test_evidence_for_another_sessions_nonce_is_refused(stage):
    _, first = stage.broker.begin(TeeKind.SIMULATED)
    session, _ = stage.broker.begin(TeeKind.SIMULATED)
    answer = stage.broker.attest(session, attest_body(stage.enclave().request(first)).encode())
    assert answer.reasons == ("nonce-mismatch",)


def test_old_evidence_under_a_new_nonce_is_refused(stage):
    enclave = stage.enclave()
    _, old = stage.broker.begin(TeeKind.SIMULATED)
    _, answer = stage.attest(enclave, evidence=enclave.evidence(old))
    assert answer.reasons == ("keys-not-bound",)


def test_evidence_and_session_do_not_survive_a_restart(stage):
    session, _ = stage.attest(stage.enclave())
    stage.restart()
    assert stage.release(session).reasons == ("session-unknown-or-expired",)


def test_evidence_of_another_development_key_is_refused(stage):
    enclave = stage.enclave()
    enclave.attester_key = SigningKey.generate()
    assert stage.run(enclave).reasons == ("evidence-invalid",)


def test_simulated_evidence_without_a_pinned_key_is_refused(tmp_path):
    world = World()
    broker = world.make_broker(world.hospital, tmp_path / "strict", simulated_keys=())
    session, nonce = broker.begin(TeeKind.SIMULATED)
    spec = world.make_spec()
    answer = broker.attest(session, attest_body(Enclave(world, spec, world.make_bundle(spec)).request(nonce)).encode())
    assert answer.reasons == ("tee-kind-not-accepted",)


@pytest.mark.parametrize("kind", [TeeKind.SEV_SNP, TeeKind.TDX, TeeKind.NITRO])
def test_simulated_evidence_in_a_session_for_hardware_is_refused(stage, kind):
    session, nonce = stage.broker.begin(kind)
    answer = stage.broker.attest(session, attest_body(stage.enclave().request(nonce)).encode())
    assert answer.reasons == ("evidence-invalid",)


@pytest.mark.parametrize(
    ("over", "reason"),
    [({"job_spec": b"{}"}, "job-spec-invalid"), ({"bundle": b"{}"}, "bundle-invalid"), ({"evidence": b"x"}, "evidence-invalid")],
)
def test_document_that_does_not_parse_is_refused_by_name(stage, over, reason):
    assert stage.attest(stage.enclave(), **over)[1].reasons == (reason,)


def replay_parts(stage):
    """Two honest situations that differ in everything; mixing any of their parts must be refused."""
    other = stage.world.make_spec(job_id="job-2", revision=3)
    first = stage.enclave()
    second = Enclave(stage.world, other, stage.world.make_bundle(other), run_id="run-2", threshold=9)
    return first, second


PARTS = ("keys", "job_spec", "bundle", "run_id", "inputs", "evidence")


@pytest.mark.parametrize("taken", [subset for size in range(1, len(PARTS)) for subset in itertools.combinations(PARTS, size)])
def test_parts_of_another_request_are_refused_in_every_combination(stage, taken):
    first, second = replay_parts(stage)
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    ours, theirs = first.request(nonce), second.request(nonce)
    mixed = replace(ours, **{name: getattr(theirs, name) for name in taken})
    assert isinstance(stage.broker.attest(session, attest_body(mixed).encode()), Refused)


def test_second_enclave_for_the_same_run_gets_nothing(stage):
    assert isinstance(stage.run(stage.enclave()), Sealed)
    assert stage.run(stage.enclave()).reasons == ("already-released",)


def test_two_enclaves_proven_for_the_same_run_get_one_release(stage):
    sessions = [stage.attest(stage.enclave())[0] for _ in range(2)]
    answers = [stage.release(session) for session in sessions]
    assert [isinstance(answer, Sealed) for answer in answers] == [True, False]


def test_many_enclaves_at_once_get_one_release(stage):
    sessions = [stage.attest(stage.enclave())[0] for _ in range(8)]
    answers = []
    threads = [threading.Thread(target=lambda s=s: answers.append(stage.release(s))) for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(answer, Sealed) for answer in answers) == 1


def test_many_runs_at_once_get_no_more_than_the_lease(stage):
    stage.spec = stage.world.make_spec(rerun_terms=replace(stage.spec.rerun_terms, max_runs=3, min_interval_s=0))
    stage.bundle = stage.world.make_bundle(stage.spec)
    sessions = [stage.attest(stage.enclave(run_id=f"run-{n}"))[0] for n in range(8)]
    answers = []
    threads = [threading.Thread(target=lambda s=s: answers.append(stage.release(s))) for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(answer, Sealed) for answer in answers) == 3


def test_release_is_remembered_across_a_restart(stage):
    assert isinstance(stage.run(stage.enclave()), Sealed)
    stage.restart()
    assert stage.run(stage.enclave()).reasons == ("already-released",)
    stage.world.clock.forward(59)
    assert stage.run(stage.enclave("run-2")).reasons == ("lease-interval",)
    stage.world.clock.forward(1)
    assert isinstance(stage.run(stage.enclave("run-2")), Sealed)
    stage.world.clock.forward(3600)
    assert stage.run(stage.enclave("run-3")).reasons == ("lease-used-up",)


def test_refused_attempt_uses_nothing_of_the_lease(stage):
    enclave = stage.enclave()
    enclave.measurement = "sha256:" + "00" * 32
    for _ in range(5):
        assert isinstance(stage.run(enclave), Refused)
    assert isinstance(stage.run(stage.enclave()), Sealed)


@pytest.mark.parametrize(
    "over", [{"workspace_id": "ws-2"}, {"dataset_id": "ds-org-laboratory"}, {"dataset_id": "ds-x"}, {"version": 2}]
)
def test_dataset_outside_the_job_is_refused(stage, over):
    session, _ = stage.attest(stage.enclave())
    assert stage.release(session, **over).reasons == ("dataset-not-in-job",)


def test_sealed_keys_open_for_no_other_purpose(stage):
    enclave = stage.enclave()
    sealed = stage.run(enclave)
    right = release_info(
        workspace_id="ws-1",
        dataset_id="ds-org-hospital",
        version=1,
        job_digest=stage.spec.digest,
        run_id="run-1",
        organisation_id="org-hospital",
    )
    assert open_release(sealed.envelope, enclave.sealing, right).keys.version == 1
    for name, value in right.items():
        wrong = right | {name: 2 if isinstance(value, int) else "other"}
        with pytest.raises(OpaqueJobsError):
            open_release(sealed.envelope, enclave.sealing, wrong)
    with pytest.raises(TrustError):
        open_release(sealed.envelope, SealingKey.generate(), right)


def test_nonce_stays_good_however_many_others_ask_for_one(stage):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    proven, _ = stage.attest(stage.enclave())
    for _ in range(2000):
        stage.broker.begin(TeeKind.SIMULATED)
    answer = stage.broker.attest(session, attest_body(stage.enclave().request(nonce)).encode())
    assert isinstance(answer, Token)
    assert isinstance(stage.release(proven), Sealed)


def spend(stage, count, peer):
    """Spend so many nonces on nothing, and return the answers' reasons."""
    reasons = []
    for _ in range(count):
        with suppress(InvalidInputError):
            reasons += stage.broker.attest(stage.broker.begin(TeeKind.SIMULATED)[0], b"{}", peer=peer).reasons
    return reasons


def test_peer_that_spends_too_many_nonces_is_refused_alone_and_until_they_have_run_out(stage):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    body = attest_body(stage.enclave().request(nonce)).encode()
    assert spend(stage, MAX_OF_PEER, "user 1") == []
    assert spend(stage, 2, "user 1") == ["too-many-requests"] * 2
    assert stage.broker.attest(session, body, peer="user 1").reasons == ("too-many-requests",)
    assert isinstance(stage.broker.attest(session, body, peer="user 2"), Token)
    stage.world.clock.forward(NONCE_LIFETIME_S)
    assert spend(stage, 1, "user 1") == []


def test_session_id_that_this_process_did_not_make_is_none(stage):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    body = attest_body(stage.enclave().request(nonce)).encode()
    other, _ = Sessions().begin(TeeKind.SIMULATED, now=stage.world.clock())
    flipped = [session[:at] + ("A" if session[at] != "A" else "B") + session[at + 1 :] for at in range(0, len(session) - 1, 7)]
    for wrong in ("", "A", "=", "?", "A" * 200, other, session[:-2], session + "AAAA", *flipped):
        assert stage.broker.attest(wrong, body).reasons == ("session-unknown-or-expired",)
        assert stage.release(wrong).reasons == ("session-unknown-or-expired",)
    assert isinstance(stage.broker.attest(session, body), Token)


def test_session_id_that_is_spelled_otherwise_is_spent_too(stage):
    session, nonce = stage.broker.begin(TeeKind.SIMULATED)
    body = attest_body(stage.enclave().request(nonce)).encode()
    assert isinstance(stage.broker.attest(session, body), Token)
    for other in (session + "=", session + "==", *(session[:-1] + each for each in "ABCDEFGH")):
        assert stage.broker.attest(other, body).reasons == ("session-unknown-or-expired",)


def test_proven_session_of_hardware_no_longer_believed_gets_nothing(stage):
    session, _ = stage.attest(stage.enclave())
    stage.world.make_broker(stage.world.hospital, stage.folder, simulated_keys=())
    assert stage.release(session).reasons == ("tee-kind-not-accepted",)


def test_lease_is_judged_by_the_time_after_the_wait_for_other_steps(stage):
    session, _ = stage.attest(stage.enclave())
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(stage.broker.release(session, workspace_id="ws-1", dataset_id="ds-org-hospital", version=1))
    )
    with stage.broker.store.transaction():
        thread.start()
        thread.join(0.1)
        stage.world.clock.forward(300)
    thread.join()
    assert answers[0].reasons == ("session-unknown-or-expired",)


def test_page_that_the_log_has_not_signed_is_refused_before_anything_in_it_is_read(stage):
    read, known = [], stage.broker.clock
    stage.broker.clock = lambda: read.append("learned") or known()
    sharing = stage.world.sharing(stage.world.hospital)
    stage.world.log.append(EntryKind.SHARING, "ds-org-hospital", sharing)
    page = stage.world.log.page(0, checkpoint="nonsense")
    with pytest.raises(InvalidInputError):
        accept_page(stage.broker, page.to_bytes())
    assert read == []
    accept_page(stage.broker, stage.world.log.page(0).to_bytes())
    assert set(read) == {"learned"}
