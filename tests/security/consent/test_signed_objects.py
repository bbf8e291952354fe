"""The replayer of the threat table: every signed object shown anywhere but where it belongs, and with every byte of it flipped.

`SIGNED` has a row for each kind of statement that the code can sign, and the test of completeness finds a kind without one.
A cell of a row either tries the object in another context, or says in words why that context means nothing to it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import opaque_jobs
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.statements import accept_deposit
from opaque_jobs.crypto.acknowledgement import sign_acknowledgement
from opaque_jobs.crypto.consent import verify_acceptance, verify_manifest, verify_vote, verify_withdrawal
from opaque_jobs.crypto.custody import verify_deposit, verify_sharing
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.release import verify_hold, verify_release
from opaque_jobs.crypto.signing import verify_statement
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.rerun_terms import lease_refusals
from opaque_jobs.errors import OpaqueJobsError
from tests.support.signed_scene import (
    OTHER,
    REQUEST,
    Scene,
    accept_acknowledgement,
    accept_answer,
    accept_change,
    accept_checkpoint,
    accept_erasure,
    accept_evidence,
    accept_login,
    accept_question,
    accept_released,
    accept_token,
    deposit_after_a_later_one,
    hold_after_a_later_one,
    make_answer,
    make_change,
    make_checkpoint,
    make_erasure,
    make_evidence,
    make_hold,
    make_login,
    make_question,
    make_receipt,
    make_release,
    make_released,
    make_token,
    make_vote,
    must,
    older_checkpoint,
    only_this_job_is_let_go,
    question_asked_late,
    release_in_the_log,
    shared_elsewhere,
    sharing_after_a_later_one,
)
from tests.world import NOW

CONTEXTS = ("job", "run", "workspace", "epoch", "broker", "dataset version", "time")
RECEIPT_TESTS = "tests/security/services/test_receipt_tampering.py: every field, in the step meant for it"


Accept = Callable[[Scene, bytes], Any]


@dataclass(frozen=True)
class Row:
    """One kind of object.

    Args:
        make: Makes a sound one.
        accept: What believes it where it belongs.
        job, run, workspace, epoch, broker, dataset version, time: `contexts`, in this order.
    """

    make: Callable[[Scene], bytes]
    accept: Accept
    contexts: tuple[Accept | str, ...]


STOPS = "it only ever stops; shown again it stops again"
OF_ROSTER = "it is about a member list, whatever is done under it"
OF_DATA = "jobs name the data set's version by its manifest's digest"
ALL_BROKERS = "every broker is shown the same one, and must be"
LEASE = "it covers the runs of its lease; the broker's own memory counts them (test_release_is_remembered_across_a_restart)"

OF_MEMBER = "it opens a session of one member, whatever is done in it; what they sign there is signed by itself"
OF_OWNER = "a release policy belongs to the data set, all versions, wherever that is used"
OF_REQUEST = "it is about one request's bytes; what those say is signed by itself"

SIGNED: dict[str, Row] = {
    "acknowledgement": Row(
        lambda s: sign_acknowledgement(s.home.broker.signing, **REQUEST),
        accept_acknowledgement,
        (
            lambda s, e: accept_acknowledgement(s, e, body=b'{"withdrawals":["two"]}'),
            lambda s, e: accept_acknowledgement(s, e, path="/opaque/v1/deposits"),
            OF_REQUEST,
            OF_REQUEST,
            lambda s, e: accept_acknowledgement(s, e, key=s.laboratory.broker.signing.public),
            OF_REQUEST,
            lambda s, e: accept_acknowledgement(s, e, nonce="11" * 16),
        ),
    ),
    "roster-acceptance": Row(
        lambda s: s.world.acceptances(s.roster, [s.world.carl])[0],
        lambda s, e: verify_acceptance(e, s.roster),
        (
            OF_ROSTER,
            OF_ROSTER,
            lambda s, e: verify_acceptance(e, s.other_roster),
            lambda s, e: verify_acceptance(e, s.next_roster),
            lambda s, e: verify_acceptance(e, replace(s.roster, log_key=s.next_key.public.text)),
            OF_ROSTER,
            "it is good until the next epoch",
        ),
    ),
    "approval": Row(
        make_vote,
        lambda s, e: verify_vote(e, s.spec, s.roster),
        (
            lambda s, e: verify_vote(e, s.other_spec, s.roster),
            LEASE,
            lambda s, e: verify_vote(e, s.world.make_spec(s.other_roster), s.other_roster),
            lambda s, e: verify_vote(e, s.world.make_spec(s.next_roster), s.next_roster),
            ALL_BROKERS,
            lambda s, e: verify_vote(
                e, replace(s.spec, datasets=tuple(u.use(dataset_version=2) for u in s.world.organisations)), s.roster
            ),
            lambda s, _e: must(*lease_refusals(s.spec.rerun_terms, now=NOW + timedelta(days=31), releases=())),
        ),
    ),
    "withdrawal": Row(
        lambda s: s.world.withdrawal(s.spec, s.world.carl),
        lambda s, e: verify_withdrawal(e, job_digest=s.spec.digest, roster=s.roster),
        (
            lambda s, e: verify_withdrawal(e, job_digest=s.other_spec.digest, roster=s.roster),
            STOPS,
            lambda s, e: verify_withdrawal(e, job_digest=s.spec.digest, roster=s.other_roster),
            STOPS,
            ALL_BROKERS,
            STOPS,
            STOPS,
        ),
    ),
    "sharing": Row(
        lambda s: s.world.sharing(s.home),
        lambda s, e: verify_sharing(e, s.keys, **s.own),
        (
            "a data set is shared for all jobs of a workspace, which its owner approves one by one",
            "as for jobs",
            lambda s, e: shared_elsewhere(s, e, "ws-2", s.roster.genesis_digest),
            lambda s, e: shared_elsewhere(s, e, "ws-1", s.next_roster.digest),
            lambda s, e: verify_sharing(e, s.strangers, **s.theirs),
            OF_DATA,
            sharing_after_a_later_one,
        ),
    ),
    "deposit": Row(
        lambda s: s.world.deposit(s.home),
        lambda s, e: verify_deposit(e, s.keys, **s.own),
        (
            *(["a deposit is the owner's and their broker's alone; nothing is released by it"] * 4),
            lambda s, e: verify_deposit(e, s.strangers, **s.theirs),
            lambda s, e: s.deposit(e, dataset_version=2),
            deposit_after_a_later_one,
        ),
    ),
    "hold": Row(
        make_hold,
        lambda s, e: verify_hold(e, s.keys, **s.own),
        (
            only_this_job_is_let_go,
            "a hold is of a job, whatever its runs",
            "a job's digest names its workspace",
            "a job's digest names its epoch",
            lambda s, e: verify_hold(e, s.strangers, **s.theirs),
            OF_DATA,
            hold_after_a_later_one,
        ),
    ),
    "dataset-manifest": Row(
        lambda s: s.world.manifest_envelope(s.home),
        lambda s, e: verify_manifest(e, [m.entry for m in s.home.members]),
        (
            *(["jobs name it by its digest; tests/unit/agent/test_admission.py shows another one"] * 4),
            lambda s, e: verify_manifest(e, [m.entry for m in s.laboratory.members]),
            lambda s, e: accept_deposit(
                s.broker,
                canonical_bytes(
                    {
                        "deposit": s.world.deposit(
                            s.home, manifest=s.home.manifest(dataset_version=2), root=replace(s.home.root, version=2)
                        ).decode(),
                        "manifest": e.decode(),
                    }
                ),
            ),
            "a version never changes",
        ),
    ),
    "release": Row(
        make_release,
        lambda s, e: verify_release(e, s.home.broker.signing.public, **s.own),
        (
            lambda s, e: release_in_the_log(s, e, job_digest=s.other_spec.digest),
            lambda s, e: release_in_the_log(s, e, run_id="run-2"),
            lambda s, e: release_in_the_log(s, e, workspace_id="ws-2"),
            "a job's digest names its epoch",
            lambda s, e: verify_release(e, s.laboratory.broker.signing.public, **s.theirs),
            lambda s, e: release_in_the_log(s, e, datasets=(f"{s.home.dataset_id}/2",)),
            lambda s, e: release_in_the_log(s, e, released_at=(NOW + timedelta(days=1)).isoformat()),
        ),
    ),
    "key-change": Row(
        make_change,
        accept_change,
        (
            "keys are of people and organisations",
            "as for jobs",
            "as for jobs; each workspace's members accept the next list that names it",
            lambda s, e: accept_change(s, e, public_key=s.next_key.public.text),
            lambda s, e: accept_change(s, e, organisation_id=s.laboratory.id),
            "as for jobs",
            lambda s, e: accept_change(s, e, public_key=SigningKey.generate().public.text),
        ),
    ),
    "simulated-evidence": Row(
        make_evidence,
        accept_evidence,
        (
            lambda s, e: accept_evidence(s, e, job_digest=OTHER),
            lambda s, e: accept_evidence(s, e, run_id="run-2"),
            lambda s, e: accept_evidence(s, e, job_digest=s.world.make_spec(s.other_roster).digest),
            lambda s, e: accept_evidence(s, e, bundle_digest=s.spec.digest),
            lambda s, e: accept_evidence(s, e, nonce="b3RoZXI="),
            lambda s, e: accept_evidence(s, e, manifests={"data": s.spec.digest}),
            lambda s, e: accept_evidence(s, e, log_checkpoint="2 y"),
        ),
    ),
    "receipt": Row(
        make_receipt,
        lambda s, e: verify_statement(e, s.next_key.public, predicate_type="urn:opaque-jobs:receipt:v1"),
        (RECEIPT_TESTS,) * len(CONTEXTS),
    ),
    "attestation result": Row(
        make_token,
        accept_token,
        (
            *([RECEIPT_TESTS] * 4),
            lambda s, e: accept_token(s, e, key=s.laboratory.broker.signing.public),
            RECEIPT_TESTS,
            lambda s, e: accept_token(s, e, after_s=301),
        ),
    ),
    "erasure": Row(
        make_erasure,
        accept_erasure,
        (
            *(["it is about a data set's keys, wherever that is used"] * 4),
            lambda s, e: accept_erasure(s, e, key=s.laboratory.broker.signing.public),
            "it is about all versions",
            "it is for good: no key is taken again",
        ),
    ),
    "login": Row(
        make_login,
        accept_login,
        (
            *([OF_MEMBER] * 4),
            lambda s, e: accept_login(s, e, key=s.world.carl.key.public),
            OF_MEMBER,
            lambda s, e: accept_login(s, e, after_s=3600),
        ),
    ),
    "policy-question": Row(
        make_question,
        accept_question,
        (
            *([OF_OWNER] * 4),
            lambda s, e: accept_question(s, e, keys=s.strangers, **s.theirs),
            OF_OWNER,
            question_asked_late,
        ),
    ),
    "policy-answer": Row(
        make_answer,
        accept_answer,
        (
            *([OF_OWNER] * 4),
            lambda s, e: accept_answer(s, e, broker=s.laboratory.broker.signing.public),
            lambda s, e: accept_answer(s, e, dataset_id=s.laboratory.dataset_id),
            lambda s, e: accept_answer(s, e, issued_at=(NOW + timedelta(seconds=1)).isoformat()),
        ),
    ),
    "released-columns": Row(
        make_released,
        accept_released,
        (
            *([OF_OWNER] * 4),
            lambda s, e: accept_released(s, e, keys=s.strangers, **s.theirs),
            OF_OWNER,
            "an older one lets nobody read more: the owner's broker decides by its own memory",
        ),
    ),
    "checkpoint": Row(
        make_checkpoint,
        accept_checkpoint,
        (
            "a checkpoint is of a whole log",
            "as for jobs; proofs are of one run's entry (test_broker_policy_attacks)",
            lambda s, e: accept_checkpoint(s, e, workspace_id="ws-2"),
            lambda s, e: accept_checkpoint(s, e, key=s.next_key.public),
            ALL_BROKERS,
            "as for jobs",
            older_checkpoint,
        ),
    ),
}
CELLS = [
    pytest.param(row, attempt, id=f"{kind}-in-another-{context}".replace(" ", "-"))
    for kind, row in SIGNED.items()
    for context, attempt in zip(CONTEXTS, row.contexts, strict=True)
    if callable(attempt)
]


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene(tmp_path)


def test_every_kind_of_statement_in_the_code_has_a_row():
    sources = Path(opaque_jobs.__file__).parent.rglob("*.py")
    found = {name for path in sources for name in re.findall(r'"urn:opaque-jobs:([a-z-]+):v\d+"', path.read_text())}
    assert found == set(SIGNED) - {"attestation result", "checkpoint"}


@pytest.mark.parametrize("kind", list(SIGNED))
def test_signed_object_is_believed_where_it_belongs(scene, kind):
    SIGNED[kind].accept(scene, SIGNED[kind].make(scene))


@pytest.mark.parametrize(("row", "attempt"), CELLS)
def test_signed_object_in_another_context_is_refused(scene, row, attempt):
    envelope = row.make(scene)
    with pytest.raises(OpaqueJobsError):
        attempt(scene, envelope)


@pytest.mark.parametrize("kind", list(SIGNED))
def test_signed_object_of_another_kind_is_refused(scene, kind):
    for other, row in SIGNED.items():
        if other != kind:
            with pytest.raises(OpaqueJobsError):
                SIGNED[kind].accept(scene, row.make(scene))


def flips(data: bytes):
    for place in range(len(data)):
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


@pytest.mark.parametrize("kind", list(SIGNED))
def test_signed_object_with_any_byte_flipped_is_refused(scene, kind):
    for changed in flips(SIGNED[kind].make(scene)):
        with pytest.raises(OpaqueJobsError):
            SIGNED[kind].accept(scene, changed)


def test_page_of_the_log_with_any_byte_flipped_moves_no_broker(scene):
    scene.world.make_bundle(scene.spec)
    scene.world.follow(scene.broker)
    first = scene.world.log.append(EntryKind.VOTE, "job-1", make_vote(scene), decision="approve")
    page = scene.world.log.page(first).to_bytes()
    for changed in flips(page):
        with pytest.raises(OpaqueJobsError):
            accept_page(scene.broker, changed)
    assert accept_page(scene.broker, page) == first + 1
