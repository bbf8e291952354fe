"""One of each signed object, and how whoever believes it looks at it: what the replayer plays with."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.evidence import unbound
from opaque_jobs.attestation.result import AttestationResult, issue_result, verify_result
from opaque_jobs.attestation.simulated import SimulatedAttester, SimulatedVerifier
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.questions import answer_policy
from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.statements import Statements, accept_deposit, accept_statements
from opaque_jobs.crypto.acknowledgement import verify_acknowledgement
from opaque_jobs.crypto.checkpoints import verify_checkpoint
from opaque_jobs.crypto.key_changes import SignedChange, sign_key_change, verify_member_change
from opaque_jobs.crypto.keys import SealingKey, SigningKey, VerifyKey
from opaque_jobs.crypto.login import Login, sign_login, verify_login
from opaque_jobs.crypto.policies import (
    PolicyQuestion,
    answer_question,
    open_answer,
    sign_question,
    sign_released,
    verify_question,
    verify_released,
)
from opaque_jobs.crypto.release import sign_erasure, sign_release, verify_erasure, verify_release
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.key_change import KeyUse
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.release import Erasure, HoldScope, Release
from opaque_jobs.errors import TrustError
from tests.world import MEASUREMENT, NOW, World, salted

OTHER = "sha256:" + "77" * 32


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
    about = {"scope": HoldScope.JOB, "subject": s.spec.digest}
    if not held:
        s.world.hold(s.home, **about)  # for the lift to name
    return s.world.hold(s.home, held=held, **about)


def make_release(s: Scene, **over: Any) -> bytes:
    job_digest = over.pop("job_digest", s.spec.digest)
    given = {
        "v": 1,
        "organisation_id": s.home.id,
        "workspace_id": "ws-1",
        "run_id": "run-1",
        "tee_key_id": s.tee.key_id,
        "datasets": {f"{s.home.dataset_id}/1": s.home.manifest().policy_commitment},
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
        policies={f"{s.home.dataset_id}/1": s.home.manifest().policy_commitment},
        log_head=s.world.log.note(),
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
    s.tell(holds=(s.world.hold(s.home, scope=HoldScope.JOB, subject=s.other_spec.digest),))
    s.later()
    s.tell(holds=(envelope,))
    with s.broker.store.transaction() as memory:
        must(*memory.vetoes.held())


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
        if not memory.vetoes.shared(workspace_id, genesis):
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


def make_login(s: Scene) -> bytes:
    login = Login(
        v=1,
        coordinator="https://coordinator.example",
        member_id=s.world.anna.id,
        session_key=s.next_key.public.text,
        challenge="challenge",
        issued_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    return sign_login(login, s.world.anna.key)


def accept_login(s: Scene, envelope: bytes, *, key: VerifyKey | None = None, after_s: int = 0) -> None:
    verify_login(envelope, key or s.world.anna.key.public, now=NOW + timedelta(seconds=after_s))


ASKER = SealingKey(b"\4" * 32)


def _question(s: Scene, **over: Any) -> PolicyQuestion:
    given = {
        "v": 1,
        "dataset_id": s.home.dataset_id,
        "organisation_id": s.home.id,
        "issued_at": NOW.isoformat(),
        "answer_to": ASKER.public.text,
    }
    return PolicyQuestion(**(given | over))


def make_question(s: Scene) -> bytes:
    return sign_question(_question(s), s.world.anna.key)


def accept_question(s: Scene, envelope: bytes, **over: Any) -> None:
    verify_question(envelope, **({"keys": s.keys, **s.own} | over))


def question_asked_late(s: Scene, envelope: bytes) -> None:
    s.deposit(s.world.deposit(s.home))
    s.world.clock.forward(600)
    answer_policy(s.broker, canonical_bytes({"question": envelope.decode()}))


def make_answer(s: Scene) -> bytes:
    return answer_question(_question(s), salted(s.home.policy()), s.home.broker.signing)


def accept_answer(s: Scene, envelope: bytes, *, broker: VerifyKey | None = None, **over: Any) -> None:
    open_answer(envelope, _question(s, **over), ASKER, broker=broker or s.home.broker.signing.public)


def make_released(s: Scene) -> bytes:
    return sign_released(("id",), s.world.anna.key, dataset_id=s.home.dataset_id, organisation_id=s.home.id, now=NOW)


def accept_released(s: Scene, envelope: bytes, **over: Any) -> None:
    verify_released(envelope, **({"keys": s.keys, **s.own} | over))


def make_erasure(s: Scene) -> bytes:
    said = Erasure(v=1, organisation_id=s.home.id, dataset_id=s.home.dataset_id, versions=(1,), erased_at=NOW.isoformat())
    return sign_erasure(said, s.home.broker.signing)


def accept_erasure(s: Scene, envelope: bytes, *, key: VerifyKey | None = None, organisation_id: str = "") -> None:
    verify_erasure(envelope, key or s.home.broker.signing.public, organisation_id=organisation_id or s.home.id)
