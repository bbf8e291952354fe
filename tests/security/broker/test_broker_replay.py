"""The replayer and the crash: nonces, sessions, releases, withdrawals and un-sharing, through the broker itself."""

import itertools
import threading
from dataclasses import replace

import pytest

from opaque_jobs.attestation.kbs import attest_body
from opaque_jobs.broker.config import pin_member, unpin_member
from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.broker.policy import Refused
from opaque_jobs.broker.release import Broker, Sealed, Token
from opaque_jobs.broker.statements import Statements, accept_deposit, accept_statements
from opaque_jobs.crypto.custody import open_release, release_info
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import ConflictError, InvalidInputError, OpaqueJobsError, TrustError
from tests.world import Enclave, Member, World


class Stage:
    """A world with the hospital's broker in it."""

    def __init__(self, folder) -> None:
        self.world = World()
        self.folder = folder
        self.broker = self.world.make_broker(self.world.hospital, folder)
        self.spec = self.world.make_spec()
        self.bundle = self.world.make_bundle(self.spec)

    def tell(self, *, roster=None, earlier=(), withdrawals=(), sharings=(), holds=(), acceptances=None) -> None:
        roster = roster or self.world.make_roster()
        given = self.world.acceptances(roster) if acceptances is None else acceptances
        accept_statements(
            self.broker,
            Statements(
                roster=roster.to_bytes().decode(),
                acceptances=tuple(each.decode() for each in given),
                earlier=tuple(earlier),
                withdrawals=tuple(each.decode() for each in withdrawals),
                sharings=tuple(each.decode() for each in sharings),
                holds=tuple(each.decode() for each in holds),
            ),
        )

    def deposit(self, envelope=None, manifest=None) -> None:
        home = self.world.hospital
        body = {
            "deposit": (envelope or self.world.deposit(home)).decode(),
            "manifest": (manifest or self.world.manifest_envelope(home)).decode(),
        }
        accept_deposit(self.broker, canonical_bytes(body))

    def share(self, **over) -> None:
        self.tell(sharings=[self.world.sharing(self.world.hospital, **over)])

    def enclave(self, run_id="run-1", **inputs) -> Enclave:
        """Give an honest enclave whose run is in the log, which the broker has followed."""
        proof = self.world.prove(self.spec, self.bundle, run_id, inputs)
        self.world.follow(self.broker)
        return Enclave(self.world, self.spec, replace(self.bundle, log=proof), run_id=run_id, **inputs)

    def attest(self, enclave: Enclave, **over):
        session, nonce = self.broker.begin(TeeKind.SIMULATED)
        return session, self.broker.attest(session, attest_body(enclave.request(nonce, **over)).encode())

    def release(self, session: str, **over):
        wanted = {"workspace_id": "ws-1", "dataset_id": "ds-org-hospital", "version": 1}
        return self.world.released(self.broker, session, **(wanted | over))

    def run(self, enclave: Enclave):
        session, answer = self.attest(enclave)
        return self.release(session) if isinstance(answer, Token) else answer

    def restart(self) -> None:
        self.broker = Broker(self.folder, self.world.hospital.broker, clock=self.world.clock)


@pytest.fixture
def stage(tmp_path) -> Stage:
    stage = Stage(tmp_path / "broker")
    stage.deposit()
    stage.share()
    return stage


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


@pytest.mark.parametrize("member", ["anna", "ben", "carl"])
def test_withdrawal_by_anyone_stops_a_proven_enclave(stage, member):
    session, answer = stage.attest(stage.enclave())
    assert isinstance(answer, Token)
    stage.tell(withdrawals=[stage.world.withdrawal(stage.spec, getattr(stage.world, member))])
    assert stage.release(session).reasons == ("consent-withdrawn",)
    stage.restart()
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


class NextEpoch:
    """Eve joins the laboratory, and ben may go; the votes of all stand in the log."""

    def __init__(self, stage, *, ben_goes: bool) -> None:
        world = stage.world
        self.eve = Member("member-eve", "org-laboratory")
        world.laboratory.members.append(self.eve)
        before = world.make_roster(members=tuple(each.entry for each in world.members if each is not self.eve))
        if ben_goes:
            world.hospital.members.remove(world.ben)
        self.roster = world.next_roster(before)
        self.acceptances = world.acceptances(self.roster)
        stage.spec = world.make_spec(self.roster)
        self.withdrawal = world.withdrawal(stage.spec, self.eve)
        self.stage = stage

    def bundle(self):
        given = tuple(each.decode() for each in self.acceptances)
        return self.stage.world.make_bundle(self.stage.spec, self.roster, acceptances=given)


def test_withdrawal_in_the_log_before_the_last_acceptance_counts(stage):
    epoch, log = NextEpoch(stage, ben_goes=False), stage.world.log
    log.append(EntryKind.ROSTER, "ws-1", epoch.roster.to_bytes())
    for each in epoch.acceptances[:-1]:
        log.append(EntryKind.ACCEPTANCE, "ws-1", each)
    log.append(EntryKind.WITHDRAWAL, "job-1", epoch.withdrawal)
    stage.bundle = epoch.bundle()
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


@pytest.mark.parametrize("way", ["log", "push"])
def test_withdrawal_seen_before_the_broker_lets_its_own_member_go_counts(stage, way):
    epoch = NextEpoch(stage, ben_goes=True)
    stage.bundle = epoch.bundle()
    if way == "log":
        stage.world.log.append(EntryKind.WITHDRAWAL, "job-1", epoch.withdrawal)
        stage.world.follow(stage.broker)
    else:
        with pytest.raises(TrustError, match="does not believe"):
            stage.tell(roster=epoch.roster, acceptances=epoch.acceptances, withdrawals=[epoch.withdrawal])
    unpin_member(stage.folder, stage.world.ben.id)
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_under_a_list_without_one_of_our_own_is_not_kept(stage):
    world, stranger = stage.world, World()
    stranger.organisations = [stranger.laboratory]
    roster = stranger.make_roster()
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(
            roster=roster,
            acceptances=stranger.acceptances(roster),
            withdrawals=[stranger.withdrawal(stage.spec, stranger.carl)],
        )
    with stage.broker.store.transaction() as memory:
        assert memory.withdrawals(world.log.workspace_id, stage.spec.digest) == ()


def test_withdrawal_counts_though_the_broker_calls_its_members_otherwise(stage):
    """A member is a key; names are the database's word, at pin time too."""
    world = stage.world
    for each in (world.anna, world.ben):
        pin_member(stage.folder, replace(each.entry, name=f"{each.id}-x"))
    stage.tell(withdrawals=[world.withdrawal(stage.spec, world.carl)])
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_counts_with_the_acceptances_that_the_broker_has_already(stage):
    world, roster = stage.world, stage.world.make_roster()
    stage.tell(acceptances=world.acceptances(roster)[1:], withdrawals=[world.withdrawal(stage.spec, world.carl)])
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_that_is_not_kept_is_not_acknowledged(stage):
    world = stage.world
    other = world.make_roster(name="Nobody accepted this")
    with pytest.raises(TrustError, match="does not believe"):
        stage.tell(roster=other, acceptances=(), withdrawals=[world.withdrawal(world.make_spec(other), world.carl)])


def test_withdrawal_by_a_stranger_in_the_log_moves_nothing(stage):
    stage.world.log.append(EntryKind.WITHDRAWAL, "job-1", stage.world.withdrawal(stage.spec, World().carl))
    assert isinstance(stage.run(stage.enclave()), Sealed)


@pytest.mark.parametrize(("count", "subject", "other_runs"), [(64, "own", True), (4096, "other", False)])
def test_more_withdrawals_than_are_kept_count_as_one(stage, count, subject, other_runs):
    other = stage.world.make_spec(revision=2)
    with stage.broker.store.transaction() as memory:
        for n in range(count):
            about = stage.spec.digest if subject == "own" else f"sha256:{n:064x}"
            memory.put_withdrawal("ws-1", about, b"%d" % n)
        assert memory.withdrawals("ws-1", stage.spec.digest) is not None
        memory.put_withdrawal("ws-1", stage.spec.digest, b"one more")
        assert memory.withdrawals("ws-1", stage.spec.digest) is None
        assert (memory.withdrawals("ws-1", other.digest) is not None) is other_runs
        memory.put_withdrawal("ws-2", stage.spec.digest, b"elsewhere")
        assert memory.withdrawals("ws-2", stage.spec.digest) == (b"elsewhere",)


def test_withdrawal_that_is_too_long_to_keep_counts(stage):
    with stage.broker.store.transaction() as memory:
        memory.put_withdrawal("ws-1", stage.spec.digest, bytes(4096))
        assert memory.withdrawals("ws-1", stage.spec.digest) == (bytes(4096),)
        memory.put_withdrawal("ws-1", stage.spec.digest, bytes(4097))
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_stops_only_the_job_it_names(stage):
    stage.tell(withdrawals=[stage.world.withdrawal(stage.world.make_spec(revision=2), stage.world.anna)])
    assert isinstance(stage.run(stage.enclave()), Sealed)


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
    stage.world.clock.forward(1)
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


def test_sharing_from_the_future_is_refused(stage):
    stage.world.clock.forward(3600)
    ahead = stage.world.sharing(stage.world.hospital, shared=False)
    stage.world.clock.forward(-3600)
    with pytest.raises(TrustError, match="future"):
        stage.tell(sharings=[ahead])


def test_sharing_from_the_future_in_the_log_moves_nothing(stage):
    ahead = stage.world.sharing(stage.world.hospital, issued_at="2125-01-01T00:00:00+00:00")
    stage.world.log.append(EntryKind.SHARING, "ds-org-hospital", ahead)
    stage.world.follow(stage.broker)
    stage.world.clock.forward(1)
    stage.share(shared=False)
    assert stage.run(stage.enclave()).reasons == ("dataset-not-shared",)


def test_statements_are_kept_all_or_none(stage):
    bad = stage.world.sharing(stage.world.hospital, signer=SigningKey.generate())
    with pytest.raises(TrustError):
        stage.tell(roster=stage.world.next_roster(stage.world.make_roster()), sharings=[bad])
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_withdrawal_is_kept_though_what_came_with_it_is_refused(stage):
    withdrawal = stage.world.withdrawal(stage.spec, stage.world.anna)
    with pytest.raises(TrustError):
        stage.tell(withdrawals=[withdrawal], sharings=[stage.world.sharing(stage.world.hospital, signer=SigningKey.generate())])
    assert stage.run(stage.enclave()).reasons == ("consent-withdrawn",)


def test_withdrawal_by_a_stranger_is_refused(stage):
    mallory = World()
    with pytest.raises(TrustError):
        stage.tell(withdrawals=[mallory.withdrawal(stage.spec, mallory.carl)])


def test_withdrawal_without_a_member_list_is_refused(stage):
    envelope = stage.world.withdrawal(stage.spec, stage.world.anna).decode()
    with pytest.raises(InvalidInputError):
        accept_statements(
            stage.broker, Statements(roster=None, acceptances=(), earlier=(), withdrawals=(envelope,), sharings=(), holds=())
        )


def test_roster_with_a_missing_acceptance_is_not_remembered(stage):
    roster = stage.world.next_roster(stage.world.make_roster())
    with pytest.raises(TrustError):
        stage.tell(roster=roster, acceptances=stage.world.acceptances(roster, [stage.world.anna]))
    assert isinstance(stage.run(stage.enclave()), Sealed)


def test_deposit_is_sealed_at_rest_and_policy_too(stage):
    raw = b"".join(path.read_bytes() for path in stage.folder.iterdir())
    assert stage.world.hospital.root.secret not in raw
    assert b"row_conditions" not in raw
    assert (stage.folder / "broker.db").stat().st_mode & 0o077 == 0


def test_later_deposit_replaces_the_policy_but_never_the_key(stage):
    stage.world.clock.forward(1)
    stage.deposit(stage.world.deposit(stage.world.hospital, policy=ReleasePolicy(columns=("id",), row_conditions=())))
    assert stage.run(stage.enclave()).reasons == ("columns-not-released",)
    root = replace(stage.world.hospital.root, secret=bytes(32))
    stage.world.clock.forward(1)
    with pytest.raises(ConflictError, match="another key"):
        stage.deposit(stage.world.deposit(stage.world.hospital, root=root))


def test_older_deposit_does_not_bring_an_old_policy_back(stage):
    old = stage.world.deposit(stage.world.hospital)
    stage.world.clock.forward(1)
    stage.deposit(stage.world.deposit(stage.world.hospital, policy=ReleasePolicy(columns=("id",), row_conditions=())))
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
            stage.world.deposit(home, policy=ReleasePolicy(columns=columns, row_conditions=()))


@pytest.mark.parametrize("over", [{"dataset_id": "ds-other"}, {"version": 2}])
def test_key_of_another_dataset_version_is_not_deposited(stage, over):
    root = replace(stage.world.hospital.root, **over)
    with pytest.raises(InvalidInputError, match="another dataset version"):
        stage.world.deposit(stage.world.hospital, root=root)


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


def test_sessions_beyond_the_limit_push_out_the_oldest(stage):
    first, nonce = stage.broker.begin(TeeKind.SIMULATED)
    for _ in range(1024):
        stage.broker.begin(TeeKind.SIMULATED)
    answer = stage.broker.attest(first, attest_body(stage.enclave().request(nonce)).encode())
    assert answer.reasons == ("session-unknown-or-expired",)


def test_sessions_beyond_the_limit_push_out_no_proven_one(stage):
    session, _ = stage.attest(stage.enclave())
    for _ in range(1025):
        stage.broker.begin(TeeKind.SIMULATED)
    assert isinstance(stage.release(session), Sealed)


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
