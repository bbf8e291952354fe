"""The broker itself: it verifies, decides by `policy`, records the release, and only then answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from opaque_jobs.attestation.appraisal import Outcome, appraise_enclave, codes
from opaque_jobs.attestation.claims import shown
from opaque_jobs.attestation.evidence import Evidence, EvidenceVerifier
from opaque_jobs.attestation.hardware import MAKERS, Anchors, hardware_verifiers
from opaque_jobs.attestation.kbs import AttestRequest, parse_attest
from opaque_jobs.attestation.result import AttestationResult, issue_result
from opaque_jobs.attestation.simulated import SimulatedVerifier
from opaque_jobs.broker.believing import newest_roster
from opaque_jobs.broker.config import BrokerConfig, database_path, load_config
from opaque_jobs.broker.policies import policy_in_force
from opaque_jobs.broker.policy import Case, Granted, Holding, Knowledge, Refused, decide
from opaque_jobs.broker.rosters import Circle
from opaque_jobs.broker.sessions import NO_SESSION, Session, Sessions
from opaque_jobs.broker.store import Store, Transaction
from opaque_jobs.crypto.custody import KeyRelease, open_deposit, release_info, seal_release
from opaque_jobs.crypto.keys import BrokerKeys, VerifyKey
from opaque_jobs.crypto.parquet import released_keys
from opaque_jobs.crypto.release import sign_release
from opaque_jobs.domain.job import TeeKind, parse_job_spec
from opaque_jobs.domain.release import Release
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["Broker", "Sealed", "Token", "Unlogged"]


@dataclass(frozen=True, slots=True)
class Token:
    """The attestation result."""

    text: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """Released keys, sealed to the enclave."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class Unlogged:
    """A release that has to be in the workspace's log first."""

    statement: bytes


class Broker:
    """The key broker of one organisation.

    Args:
        folder: Its folder, see `config`.
        keys: Its opened keys.
        clock: Gives the aware time.
        anchors: Roots of hardware makers that are believed.
    """

    def __init__(self, folder: Path, keys: BrokerKeys, *, clock: Callable[[], datetime], anchors: Anchors = MAKERS) -> None:
        self.folder = folder
        self.anchors = anchors
        self.keys = keys
        self.clock = clock
        self.store = Store(database_path(folder), keys)
        self._sessions = Sessions()

    @property
    def config(self) -> BrokerConfig:
        """The settings as they are now."""
        return load_config(self.folder, self.keys, self.store)

    @property
    def circle(self) -> Circle:
        """The broker and its own people, as they are now."""
        config = self.config
        return Circle(
            organisation_id=config.organisation_id,
            deposit_key=self.keys.sealing.public.text,
            signing_key=self.keys.signing.public.text,
            members=config.members,
        )

    def begin(self, kind: TeeKind) -> tuple[str, str]:
        """Open a conversation: its id, and the nonce for the evidence."""
        session_id, session = self._sessions.begin(kind, now=self.clock())
        return session_id, session.nonce

    def attest(self, session_id: str, body: bytes, *, peer: str = "") -> Token | Refused:
        """Verify evidence and all that it is about; nothing is released yet.

        Args:
            session_id: As `begin` gave it.
            body: What the enclave shows.
            peer: Who brings it; each has its own share of sessions.

        Raises:
            InvalidInputError: The body does not parse. The nonce is spent all the same.
        """
        now = self.clock()
        session = self._sessions.take(session_id, peer=peer, now=now)
        if isinstance(session, Refused):
            return session
        request = parse_attest(body)
        case = self._case(session, request, now)
        if isinstance(case, Refused):
            return case
        self._verify_ahead(case)
        with self.store.transaction() as memory:
            now = self.clock()
            decision = decide(case, self._knowledge(memory, case), now=now)
            log_head = memory.log_head(case.spec.workspace_id)
        if isinstance(decision, Refused):
            return decision
        self._sessions.prove(session, case, peer=peer, now=now)
        return Token(issue_result(self._result(case, decision, log_head, now), self.keys.signing))

    def _verify_ahead(self, case: Case) -> None:
        """Verify whatever can be before the step in which this broker decides: nobody else's decision waits for signatures."""
        with self.store.transaction() as memory:
            withdrawals = memory.withdrawals(case.spec.workspace_id, case.job_digest)
        any(map(case.withdrawn_by, withdrawals or ()))
        _ = case.shows

    def release(self, session_id: str, *, workspace_id: str, dataset_id: str, version: int) -> Sealed | Unlogged | Refused:
        """Release a dataset's keys to a proven enclave: decide again, record, see it in the log, and only then answer.

        The first request for a run is answered with the signed statement of its release, which whoever carries the messages
        appends to the log; once the broker has followed the log to there, the same request gives the keys.
        """
        wanted = dataset_id, version
        with self.store.transaction(in_full=True) as memory:
            now = self.clock()  # the wait for the step may have been long
            case = self._sessions.proven(session_id, now=now)
            if case is None:
                return NO_SESSION
            spec = case.spec
            decision = decide(case, self._knowledge(memory, case), now=now)
            if isinstance(decision, Refused):
                return decision
            if workspace_id != spec.workspace_id or wanted not in decision.columns:
                return Refused(reasons=("dataset-not-in-job",))
            memory.put_roster(decision.roster)
            known = memory.statement(case.job_digest, case.run_id)
            if known is None:
                return self._state(memory, case, decision, now)
            statement, logged = known
            return self._deliver(memory, case, decision, wanted) if logged else Unlogged(statement)

    def _deliver(self, memory: Transaction, case: Case, granted: Granted, wanted: tuple[str, int]) -> Sealed | Refused:
        """Give a dataset's keys to a run whose release is recorded and in the log, once."""
        sealed = self._seal(memory, case, granted, wanted)
        first = memory.record_delivery(job_digest=case.job_digest, run_id=case.run_id, dataset_id=wanted[0], version=wanted[1])
        return sealed if first else Refused(reasons=("already-released",))

    def _state(self, memory: Transaction, case: Case, granted: Granted, now: datetime) -> "Unlogged":
        """Record that this run's keys are for this enclave, and say so, signed."""
        release = Release(
            v=1,
            organisation_id=self.config.organisation_id,
            workspace_id=case.spec.workspace_id,
            run_id=case.run_id,
            tee_key_id=case.keys.key_id,
            datasets=dict(granted.policies),
            released_at=now.isoformat(),
        )
        statement = sign_release(release, self.keys.signing, job_digest=case.job_digest)
        memory.record_release(release, job_digest=case.job_digest, statement=statement)
        return Unlogged(statement)

    def _case(self, session: Session, request: AttestRequest, now: datetime) -> Case | Refused:
        if request.nonce != session.nonce:
            return Refused(reasons=("nonce-mismatch",))
        evidence = self._evidence(session.kind, request.evidence, now)
        if isinstance(evidence, Refused):
            return evidence
        try:
            spec = parse_job_spec(request.job_spec)
        except InvalidInputError:
            return Refused(reasons=("job-spec-invalid",))
        try:
            bundle = parse_bundle(request.bundle)
        except InvalidInputError:
            return Refused(reasons=("bundle-invalid",))
        return Case(
            spec=spec,
            bundle=bundle,
            run_id=request.run_id,
            inputs=request.inputs,
            refreshed=request.refreshed,
            keys=request.keys,
            nonce=session.nonce,
            evidence=evidence,
        )

    def _evidence(self, kind: TeeKind, evidence: bytes, now: datetime) -> Evidence | Refused:
        verifier = self._verifiers().get(kind)
        if verifier is None:
            return Refused(reasons=("tee-kind-not-accepted",))
        try:
            return verifier.verify(evidence, now=now)
        except (TrustError, InvalidInputError):
            return Refused(reasons=("evidence-invalid",))

    def _verifiers(self) -> Mapping[TeeKind, EvidenceVerifier]:
        pinned = [VerifyKey.parse(text) for text in self.config.simulated_keys]
        simulated = {TeeKind.SIMULATED: SimulatedVerifier(pinned)} if pinned else {}
        return {**hardware_verifiers(self.anchors), **simulated}

    def _knowledge(self, memory: Transaction, case: Case) -> Knowledge:
        spec, circle = case.spec, self.circle
        return Knowledge(
            organisation_id=circle.organisation_id,
            deposit_key=circle.deposit_key,
            signing_key=circle.signing_key,
            members=circle.members,
            roster=newest_roster(circle, memory, spec.workspace_id),
            earlier=memory.accepted_list,
            withdrawals=memory.withdrawals(spec.workspace_id, case.job_digest),
            held=memory.vetoes.held(),
            lost=memory.lost,
            latest=memory.observed(self.clock()),
            log_root=lambda size: memory.root(spec.workspace_id, size),
            log_seen=lambda size: memory.seen_at(spec.workspace_id, size),
            holdings=self._holdings(memory, case),
            shared=memory.vetoes.shared(spec.workspace_id, spec.workspace_genesis),
            releases=memory.releases(case.job_digest, but_run=case.run_id),
            released_to=memory.released_to(case.job_digest, case.run_id),
            simulated_keys=frozenset(self.config.simulated_keys),
        )

    def _holdings(self, memory: Transaction, case: Case) -> dict[tuple[str, int], Holding]:
        holdings = {}
        for use in case.shows.uses or ():
            deposit = memory.deposit(use.dataset_id, use.dataset_version)
            salted = policy_in_force(memory, use.dataset_id, self.keys.sealing)
            if deposit is not None and salted is not None:
                holdings[use.dataset_id, use.dataset_version] = Holding(manifest_digest=deposit.manifest_digest, salted=salted)
        return holdings

    def _seal(self, memory: Transaction, case: Case, granted: Granted, wanted: tuple[str, int]) -> Sealed | Refused:
        deposit, salted = memory.deposit(*wanted), policy_in_force(memory, wanted[0], self.keys.sealing)
        if deposit is None or salted is None:
            return Refused(reasons=("dataset-unknown",))
        root, _ = open_deposit(deposit, self.keys.sealing)
        info = release_info(
            workspace_id=case.spec.workspace_id,
            dataset_id=deposit.dataset_id,
            version=deposit.dataset_version,
            job_digest=case.job_digest,
            run_id=case.run_id,
            organisation_id=deposit.organisation_id,
        )
        release = KeyRelease(keys=released_keys(root, granted.columns[wanted]), salted=salted)
        return Sealed(seal_release(release, case.keys.sealing, info))

    def _result(self, case: Case, granted: Granted, log_head: str, now: datetime) -> AttestationResult:
        claims = case.evidence.claims
        findings = appraise_enclave(claims, case.spec.tee_policies, now=now) if claims else ()
        return AttestationResult(
            verifier=self.config.organisation_id,
            kind=case.evidence.kind,
            measurement=case.evidence.measurement,
            warnings=codes(findings, Outcome.WARNING),
            claims=shown(claims) if claims else {},
            nonce=case.nonce,
            tee_key_id=case.keys.key_id,
            policies=granted.policies,
            log_head=log_head,
            job_digest=case.job_digest,
            run_id=case.run_id,
            issued_at=now,
        )
