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
from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.evidence import unbound
from opaque_jobs.attestation.result import AttestationResult, issue_result, verify_result
from opaque_jobs.attestation.simulated import SimulatedAttester, SimulatedVerifier
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.statements import Statements, accept_deposit, accept_statements
from opaque_jobs.crypto.acknowledgement import sign_acknowledgement, verify_acknowledgement
from opaque_jobs.crypto.checkpoints import verify_checkpoint
from opaque_jobs.crypto.consent import verify_acceptance, verify_manifest, verify_vote, verify_withdrawal
from opaque_jobs.crypto.custody import verify_deposit, verify_sharing
from opaque_jobs.crypto.key_changes import SignedChange, sign_key_change, verify_member_change
from opaque_jobs.crypto.keys import SealingKey, SigningKey, VerifyKey
from opaque_jobs.crypto.release import sign_hold, sign_release, verify_hold, verify_release
from opaque_jobs.crypto.signing import sign_statement, verify_statement
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.key_change import KeyUse
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.release import Hold, HoldScope, Release
from opaque_jobs.domain.rerun_terms import lease_refusals
from opaque_jobs.errors import OpaqueJobsError, TrustError
from tests.world import MEASUREMENT, NOW, World

CONTEXTS = ("job", "run", "workspace", "epoch", "broker", "dataset version", "time")
OTHER = "sha256:" + "77" * 32
RECEIPT_TESTS = "tests/security/services/test_receipt_tampering.py: every field, in the step meant for it"


class Scene:
    """A world with the brokers of both organisations, the hospital's knowing its data set."""

    def __init__(self, folder: Path) -> None:
        self.world = world = World()
        self.home, self.laboratory = world.hospital, world.laboratory
        self.roster, self.spec = world.make_roster(), world.make_spec()
        self.other_spec = world.make_spec(job_id="job-2")
        self.next_roster = world.next_roster(self.roster)
        self.other_roster = world.make_roster(workspace_id="ws-2")
        self.broker = world.make_broker(self.home, folder / "hospital")
        self.keys = {member.key.public.key_id: member.key.public for member in self.home.members}
        self.strangers = {member.key.public.key_id: member.key.public for member in self.laboratory.members}
        self.tee = TeePublicKeys(sealing=SealingKey(b"\1" * 32).public, signing=SigningKey(b"\2" * 32).public)
        self.next_key = SigningKey(b"\3" * 32)

    @property
    def own(self) -> dict[str, Any]:
        return {"organisation_id": self.home.id}

    @property
    def theirs(self) -> dict[str, Any]:
        return {"organisation_id": self.laboratory.id}

    def tell(self, broker: Broker | None = None, **texts: tuple[bytes, ...]) -> None:
        given = {name: tuple(each.decode() for each in envelopes) for name, envelopes in texts.items()}
        blank = {"roster": None, "acceptances": (), "earlier": (), "withdrawals": (), "sharings": (), "holds": ()}
        accept_statements(broker or self.broker, Statements(**(blank | given)))

    def deposit(self, envelope: bytes, **over: Any) -> None:
        manifest = self.world.manifest_envelope(self.home, **over)
        accept_deposit(self.broker, canonical_bytes({"deposit": envelope.decode(), "manifest": manifest.decode()}))

    def later(self) -> None:
        self.world.clock.forward(60)

    def run(self, **over: Any) -> bytes:
        given = {
            "job_digest": self.spec.digest,
            "run_id": "run-1",
            "bundle_digest": OTHER,
            "inputs": {"threshold": 5},
            "manifests": {"data": OTHER},
            "log_checkpoint": "1 x",
        }
        return init_data(**(given | over))


def must(*reasons: str) -> None:
    """Make an error of reasons, for those checks that give reasons."""
    if reasons:
        raise TrustError("refused", hint="", reasons=",".join(reasons))


def make_vote(s: Scene) -> bytes:
    return s.world.votes(s.spec, [s.world.carl])[0].encode()


def make_hold(s: Scene, *, held: bool = False) -> bytes:
    said = Hold(
        v=1,
        organisation_id=s.home.id,
        scope=HoldScope.JOB,
        subject=s.spec.digest,
        held=held,
        issued_at=s.world.clock().isoformat(),
    )
    return sign_hold(said, s.world.anna.key)


def make_release(s: Scene, **over: Any) -> bytes:
    job_digest = over.pop("job_digest", s.spec.digest)
    given = {
        "v": 1,
        "organisation_id": s.home.id,
        "workspace_id": "ws-1",
        "run_id": "run-1",
        "tee_key_id": s.tee.key_id,
        "datasets": (f"{s.home.dataset_id}/1",),
        "released_at": NOW.isoformat(),
    }
    return sign_release(Release(**(given | over)), s.home.broker.signing, job_digest=job_digest)


def make_change(s: Scene) -> bytes:
    return _change(s, s.world.anna.key)


def _change(s: Scene, signer: SigningKey) -> bytes:
    anna = s.world.anna
    return sign_key_change(
        owner_id=anna.id,
        use=KeyUse.SIGNING,
        old_key_id=anna.entry.key_id,
        new_key=s.next_key.public.text,
        signer=signer,
        now=NOW,
    )


def accept_change(s: Scene, word: bytes, **over: Any) -> None:
    verify_member_change(
        SignedChange(word=word, possession=_change(s, s.next_key)), replace(s.world.anna.entry, **over), s.home.entry
    )


def make_evidence(s: Scene) -> bytes:
    run = s.run()
    bound = report_data(nonce="bm9uY2U=", keys=s.tee, init_data=run)
    return SimulatedAttester(s.world.development_key).evidence(measurement=MEASUREMENT, report_data=bound, init_data=run)


def accept_evidence(s: Scene, evidence: bytes, *, nonce: str = "bm9uY2U=", **run: Any) -> None:
    verified = SimulatedVerifier([s.world.development_key.public]).verify(evidence, now=NOW)
    must(*unbound(verified, nonce=nonce, keys=s.tee, run=s.run(**run)))


def make_receipt(s: Scene) -> bytes:
    return sign_statement(
        s.next_key,
        predicate_type="urn:opaque-jobs:receipt:v1",
        subject_name="run-1",
        subject_digest=s.spec.digest,
        predicate={"v": 1},
    )


def make_token(s: Scene) -> bytes:
    result = AttestationResult(
        verifier=s.home.id,
        kind=TeeKind.SIMULATED,
        measurement=MEASUREMENT,
        warnings=(),
        claims={},
        nonce="bm9uY2U=",
        tee_key_id=s.tee.key_id,
        job_digest=s.spec.digest,
        run_id="run-1",
        issued_at=NOW,
    )
    return issue_result(result, s.home.broker.signing).encode()


def accept_token(s: Scene, token: bytes, *, key: VerifyKey | None = None, after_s: int = 0) -> None:
    try:
        text = token.decode()
    except UnicodeDecodeError:
        must("not-text")
    verify_result(text, key or s.home.broker.signing.public, now=NOW + timedelta(seconds=after_s))


def make_checkpoint(s: Scene) -> bytes:
    s.world.make_bundle(s.spec)
    return s.world.log.note().encode()


def accept_checkpoint(s: Scene, note: bytes, *, key: VerifyKey | None = None, workspace_id: str = "ws-1") -> None:
    try:
        text = note.decode()
    except UnicodeDecodeError:
        must("not-text")
    verify_checkpoint(text, key or s.world.log.key.public, workspace_id=workspace_id)


def older_checkpoint(s: Scene, note: bytes) -> None:
    s.world.follow(s.broker)
    first = s.world.log.append(EntryKind.RUN, "run-2")
    accept_page(s.broker, s.world.log.page(first, checkpoint=note.decode()).to_bytes())


def only_this_job_is_let_go(s: Scene, envelope: bytes) -> None:
    other = Hold(
        v=1,
        organisation_id=s.home.id,
        scope=HoldScope.JOB,
        subject=s.other_spec.digest,
        held=True,
        issued_at=NOW.isoformat(),
    )
    s.tell(holds=(sign_hold(other, s.world.anna.key),))
    s.later()
    s.tell(holds=(envelope,))
    with s.broker.store.transaction() as memory:
        must(*memory.held())


def hold_after_a_later_one(s: Scene, envelope: bytes) -> None:
    s.later()
    s.tell(holds=(make_hold(s, held=True),))
    s.tell(holds=(envelope,))


def sharing_after_a_later_one(s: Scene, envelope: bytes) -> None:
    s.later()
    s.tell(sharings=(s.world.sharing(s.home, shared=False),))
    s.tell(sharings=(envelope,))


def shared_elsewhere(s: Scene, envelope: bytes, workspace_id: str, genesis: str) -> None:
    s.tell(sharings=(envelope,))
    with s.broker.store.transaction() as memory:
        if not memory.shared(workspace_id, genesis):
            must("dataset-not-shared")


def deposit_after_a_later_one(s: Scene, envelope: bytes) -> None:
    s.later()
    s.deposit(s.world.deposit(s.home))
    s.deposit(envelope)


def release_in_the_log(s: Scene, envelope: bytes, **mine: Any) -> None:
    """Another release of this broker waits for the log; there comes only the one at hand."""
    waits = make_release(s, **mine)
    job_digest, said = verify_release(waits, s.home.broker.signing.public, **s.own)
    with s.broker.store.transaction() as memory:
        memory.record_release(said, job_digest=job_digest, statement=waits)
    s.world.make_bundle(s.spec)
    s.world.log.append(EntryKind.RELEASE, said.run_id, envelope)
    s.world.follow(s.broker)
    with s.broker.store.transaction() as memory:
        known = memory.statement(job_digest, said.run_id)
        if known is None or not known[1]:
            must("release-not-in-log")


REQUEST = {"path": "/opaque/v1/statements", "nonce": "00" * 16, "body": b'{"withdrawals":["one"]}'}


def accept_acknowledgement(s: Scene, envelope: bytes, *, key: VerifyKey | None = None, **over: Any) -> None:
    verify_acknowledgement(envelope, key or s.home.broker.signing.public, **(REQUEST | over))


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
