"""A small world for tests: organisations with members and brokers, a workspace, a job, its approvals, an enclave.

Everything is real (keys, signatures, seals); only the clock stands still and the hardware is the simulated attester.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.kbs import AttestRequest
from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.broker.config import BrokerConfig, write_config
from opaque_jobs.broker.monitor import accept_page, followed_to
from opaque_jobs.broker.release import Broker, Unlogged
from opaque_jobs.crypto.consent import sign_acceptance, sign_manifest, sign_vote, sign_withdrawal
from opaque_jobs.crypto.custody import sign_deposit, sign_sharing
from opaque_jobs.crypto.keys import BrokerKeys, SealingKey, SigningKey
from opaque_jobs.crypto.parquet import RootKey
from opaque_jobs.crypto.release import sign_hold
from opaque_jobs.domain.custody import Sharing
from opaque_jobs.domain.dataset import Column, DatasetManifest, Part, ReleasePolicy, SaltedPolicy
from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable, effective_inputs
from opaque_jobs.domain.job import Code, DatasetUse, JobKind, JobSpec, Language, Limits, Recipient, TeeKind
from opaque_jobs.domain.log import EntryKind, LogProof
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.release import Hold, HoldScope
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import ApprovalBundle, Decision
from opaque_jobs.domain.row_rule import RowOperator, RowTest
from opaque_jobs.domain.run import inputs_digest
from opaque_jobs.domain.tee_policy import NO_HARDWARE
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, RunPolicy
from tests.support.log_keeper import LogKeeper

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
MEASUREMENT = "sha256:" + "11" * 32
SALT = "5a" * 32


def salted(policy: ReleasePolicy, salt: str = SALT) -> SaltedPolicy:
    return SaltedPolicy(policy=policy, salt=salt)


def everything(columns: Sequence[Column]) -> SaltedPolicy:
    """Release all columns and rows."""
    return salted(ReleasePolicy(columns=tuple(column.name for column in columns), row_rule=None))


class Clock:
    """A clock that moves only when told."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Member:
    """A person with their key."""

    id: str
    organisation_id: str
    key: SigningKey = field(default_factory=SigningKey.generate)

    @property
    def entry(self) -> MemberEntry:
        return MemberEntry(id=self.id, name=self.id, organisation_id=self.organisation_id, public_key=self.key.public.text)


@dataclass
class Organisation:
    """An organisation with all its keys and one dataset."""

    id: str
    members: list[Member]
    sealing: SealingKey = field(default_factory=SealingKey.generate)
    broker: BrokerKeys = field(default_factory=lambda: BrokerKeys(sealing=SealingKey.generate(), signing=SigningKey.generate()))

    @property
    def entry(self) -> OrganisationEntry:
        return OrganisationEntry(
            id=self.id,
            name=self.id,
            sealing_key=self.sealing.public.text,
            broker_deposit_key=self.broker.sealing.public.text,
            broker_signing_key=self.broker.signing.public.text,
        )

    @property
    def dataset_id(self) -> str:
        return f"ds-{self.id}"

    @property
    def root(self) -> RootKey:
        return RootKey(dataset_id=self.dataset_id, version=1, secret=self.id.encode().ljust(32, b"."))

    def manifest(self, **over: Any) -> DatasetManifest:
        part = Part(name="part-00000.parquet", size_bytes=10, sha256="sha256:" + "22" * 32, rows=3)
        fields: dict[str, Any] = {
            "v": 1,
            "dataset_id": self.dataset_id,
            "dataset_version": 1,
            "organisation_id": self.id,
            "name": f"data_{self.id.replace('-', '_')}",
            "columns": tuple(Column(name=name, type="int64") for name in ("id", "value", "site", "hidden")),
            "parts": (part,),
            "rows": 3,
            "policy_commitment": salted(self.policy()).commitment,
            "created_at": NOW.isoformat(),
        }
        return DatasetManifest(**(fields | over))

    def policy(self) -> ReleasePolicy:
        rule = RowTest(column="site", type="int64", operator=RowOperator.EQUAL, values=("7",))
        return ReleasePolicy(columns=("id", "value"), row_rule=rule)

    def use(self, **over: Any) -> DatasetUse:
        fields: dict[str, Any] = {
            "alias": f"data_{self.id.replace('-', '_')}",
            "dataset_id": self.dataset_id,
            "dataset_version": 1,
            "manifest_digest": self.manifest().digest,
            "schema_digest": self.manifest().schema_digest,
            "policy_commitment": self.manifest().policy_commitment,
            "organisation_id": self.id,
            "columns": ("id", "value"),
        }
        return DatasetUse(**(fields | over))


class World:
    """Hospital (anna, ben) and laboratory (carl) share a workspace; anna is the author."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.development_key = SigningKey.generate()
        self.anna, self.ben = Member("member-anna", "org-hospital"), Member("member-ben", "org-hospital")
        self.carl = Member("member-carl", "org-laboratory")
        self.hospital = Organisation("org-hospital", [self.anna, self.ben])
        self.laboratory = Organisation("org-laboratory", [self.carl])
        self.organisations = [self.hospital, self.laboratory]
        self.log = LogKeeper("ws-1", SigningKey.generate())
        self._carrying = threading.Lock()
        self.unshared: list[str] = []
        self.holds: list[Hold] = []

    @property
    def members(self) -> list[Member]:
        return sorted((m for each in self.organisations for m in each.members), key=lambda member: member.id)

    def make_roster(self, **over: Any) -> Roster:
        fields: dict[str, Any] = {
            "v": 1,
            "workspace_id": "ws-1",
            "name": "Study",
            "epoch": 1,
            "genesis": None,
            "previous": None,
            "members": tuple(member.entry for member in self.members),
            "organisations": tuple(each.entry for each in sorted(self.organisations, key=lambda each: each.id)),
            "run_policy": RunPolicy.AUTHOR,
            "runners": (),
            "approval_groups": (),
            "log_key": self.log.key.public.text,
            "nonce": "5e" * 16,
        }
        return Roster(**(fields | over))

    def next_roster(self, roster: Roster, **over: Any) -> Roster:
        fields = {"epoch": roster.epoch + 1, "genesis": roster.genesis_digest, "previous": roster.digest}
        return self.make_roster(**(fields | over))

    def acceptances(self, roster: Roster, members: Sequence[Member] | None = None) -> tuple[bytes, ...]:
        signers = self.members if members is None else members
        return tuple(sign_acceptance(roster, m.entry, m.key, now=NOW) for m in signers)

    def make_spec(self, roster: Roster | None = None, **over: Any) -> JobSpec:
        roster = roster or self.make_roster()
        home = self.hospital
        fields: dict[str, Any] = {
            "v": 1,
            "workspace_id": roster.workspace_id,
            "workspace_genesis": roster.genesis_digest,
            "epoch": roster.epoch,
            "roster_digest": roster.digest,
            "job_id": "job-1",
            "revision": 1,
            "author_id": self.anna.id,
            "name": "Count",
            "description": "",
            "kind": JobKind.NOTEBOOK,
            "code": Code(language=Language.SQL, text="select count(*) from data_org_hospital"),
            "template": None,
            "inputs": (make_variable("threshold", 5), make_variable("fixed", 7)),
            "datasets": tuple(each.use() for each in self.organisations),
            "output_policy": OutputPolicy(max_rows=10, max_columns=10, max_bytes=1 << 20, preview_rows=10),
            "recipients": (
                Recipient(
                    organisation_id=home.id,
                    sealing_key=home.sealing.public.text,
                    sealing_key_id=home.sealing.public.key_id,
                ),
            ),
            "rerun_terms": RerunTerms(
                max_runs=2,
                not_before=(NOW - timedelta(days=1)).isoformat(),
                not_after=(NOW + timedelta(days=30)).isoformat(),
                min_interval_s=60,
                schedule=None,
                variable_inputs=("threshold",),
            ),
            "measurement": MEASUREMENT,
            "tee_kinds": (TeeKind.SIMULATED,),
            "tee_policies": NO_HARDWARE,
            "spark_conf": {},
            "limits": Limits(memory_bytes=4 << 30, cores=2, pids=512, timeout_s=600, scratch_bytes=1 << 30),
        }
        return JobSpec(**(fields | over))

    def votes(
        self, spec: JobSpec, members: Sequence[Member] | None = None, *, decision: Decision = Decision.APPROVE
    ) -> tuple[str, ...]:
        signers = self.members if members is None else members
        seen = self.log.checkpoint().seen
        return tuple(
            sign_vote(spec, m.entry, m.key, decision=decision, comment=None, seen=seen, now=NOW).decode() for m in signers
        )

    def make_bundle(
        self, spec: JobSpec, in_force: Roster | None = None, *, run_id: str = "run-1", inputs: Any = None, **over: Any
    ) -> ApprovalBundle:
        """Give a bundle that the log proves for a run with these input values (defaults filled in)."""
        roster = in_force or self.make_roster()
        fields: dict[str, Any] = {
            "v": 1,
            "roster": roster.to_bytes().decode(),
            "acceptances": tuple(each.decode() for each in self.acceptances(roster)),
            "approvals": self.votes(spec),
            "withdrawals": (),
            "log": None,
        }
        bundle = ApprovalBundle(**(fields | over))
        return bundle if "log" in over else replace(bundle, log=self.prove(spec, bundle, run_id, inputs or {}))

    def prove(self, spec: JobSpec, bundle: ApprovalBundle, run_id: str, inputs: dict[str, Any]) -> LogProof:
        """Enter whatever a bundle holds into the log, and the run, and prove it."""
        documents = [(EntryKind.ROSTER, bundle.roster)]
        documents += [(EntryKind.ACCEPTANCE, text) for text in bundle.acceptances]
        documents += [(EntryKind.VOTE, text) for text in bundle.approvals]
        documents += [(EntryKind.WITHDRAWAL, text) for text in bundle.withdrawals]
        for kind, text in documents:
            self.log.once(kind, spec.workspace_id, text.encode())
        self.enter_run(spec, run_id, inputs)
        return self.log.proof([text.encode() for _, text in documents], run_id)

    def enter_run(self, spec: JobSpec, run_id: str, inputs: dict[str, Any]) -> None:
        values = effective_inputs(spec.inputs, inputs, aliases=spec.aliases)
        facts = {"job_digest": spec.digest, "inputs_digest": inputs_digest(values)}
        known = [each.entry for each in self.log.logged if each.entry.kind is EntryKind.RUN]
        if (run_id, facts) not in [(entry.subject, entry.facts) for entry in known]:
            self.log.append(EntryKind.RUN, run_id, **facts)

    def released(self, broker: Broker, session: str, **wanted: Any) -> Any:
        """Ask a broker for keys, carrying its statement to the log where it demands that."""
        answer = broker.release(session, **wanted)
        if not isinstance(answer, Unlogged):
            return answer
        with self._carrying:
            self.log.append(EntryKind.RELEASE, "run", answer.statement)
            self.follow(broker)
        return broker.release(session, **wanted)

    def follow(self, *brokers: Broker) -> None:
        """Bring each broker the log as far as it goes."""
        for broker in brokers:
            first = followed_to(broker, self.log.workspace_id)
            if first < self.log.tree.size:
                accept_page(broker, self.log.page(first).to_bytes())

    def withdrawal(self, spec: JobSpec, member: Member) -> bytes:
        return sign_withdrawal(spec, member.entry, member.key, now=NOW)

    def sharing(self, organisation: Organisation, roster: Roster | None = None, **over: Any) -> bytes:
        roster = roster or self.make_roster()
        fields: dict[str, Any] = {
            "v": 1,
            "dataset_id": organisation.dataset_id,
            "organisation_id": organisation.id,
            "workspace_id": roster.workspace_id,
            "workspace_genesis": roster.genesis_digest,
            "shared": True,
            "lifts": tuple(self.unshared) if over.get("shared", True) else (),
            "nonce": token_hex(8),
            "issued_at": self.clock().isoformat(),
        }
        signer = over.pop("signer", organisation.members[0].key)
        said = Sharing(**(fields | over))
        if not said.shared:
            self.unshared.append(said.digest)
        return sign_sharing(said, signer)

    def hold(self, organisation: Organisation, **over: Any) -> bytes:
        """Sign a hold on everything, or a lift of what was held by this world before."""
        fields: dict[str, Any] = {
            "v": 1,
            "organisation_id": organisation.id,
            "scope": HoldScope.ALL,
            "subject": organisation.id,
            "held": True,
            "nonce": token_hex(8),
            "issued_at": self.clock().isoformat(),
        }
        signer = over.pop("signer", organisation.members[0].key)
        fields |= over
        stood = tuple(each.digest for each in self.holds if (each.scope, each.subject) == (fields["scope"], fields["subject"]))
        said = Hold(**({"lifts": () if fields["held"] else stood} | fields))
        if said.held:
            self.holds.append(said)
        return sign_hold(said, signer)

    def manifest_envelope(self, organisation: Organisation, **over: Any) -> bytes:
        return sign_manifest(organisation.manifest(**over), organisation.members[0].key)

    def deposit(self, organisation: Organisation, **over: Any) -> bytes:
        fields: dict[str, Any] = {"broker": organisation.broker.sealing.public, "now": self.clock()}
        manifest = over.pop("manifest", organisation.manifest())
        root = over.pop("root", organisation.root)
        policy = over.pop("policy", organisation.policy())
        signer = over.pop("signer", organisation.members[0].key)
        return sign_deposit(manifest, root, salted(policy), signer, **(fields | over))

    def make_broker(self, organisation: Organisation, folder: Path, **over: Any) -> Broker:
        """Give a broker with nothing in it but what was pinned by hand."""
        fields: dict[str, Any] = {
            "v": 1,
            "organisation_id": organisation.id,
            "port": 0,
            "members": tuple(member.entry for member in organisation.members),
            "simulated_keys": (self.development_key.public.text,),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, BrokerConfig(**(fields | over)), organisation.broker)
        return Broker(folder, organisation.broker, clock=self.clock)


def make_variable(name: str, default: int) -> InputVariable:
    within = (Constraint(kind=ConstraintKind.MIN, value=0), Constraint(kind=ConstraintKind.MAX, value=100))
    return InputVariable(
        name=name, type=InputType.INTEGER, description="", default=default, constraints=(within,), sensitive=False
    )


class Enclave:
    """The agent's side of attestation, honest unless told otherwise."""

    def __init__(self, world: World, spec: JobSpec, bundle: ApprovalBundle, *, run_id: str = "run-1", **inputs: Any) -> None:
        self.world, self.spec, self.bundle, self.run_id = world, spec, bundle, run_id
        self.inputs = effective_inputs(spec.inputs, inputs, aliases=spec.aliases)
        self.refreshed: dict[str, str] = {}
        self.manifests = {use.alias: use.manifest_digest for use in spec.datasets}
        self.sealing, self.signing = SealingKey.generate(), SigningKey.generate()
        self.measurement = MEASUREMENT
        self.attester_key = world.development_key

    @property
    def keys(self) -> TeePublicKeys:
        return TeePublicKeys(sealing=self.sealing.public, signing=self.signing.public)

    @property
    def run_facts(self) -> bytes:
        return init_data(
            job_digest=self.spec.digest,
            run_id=self.run_id,
            bundle_digest=self.bundle.digest,
            inputs=self.inputs,
            manifests=self.manifests,
            log_checkpoint=" ".join(self.bundle.log.checkpoint.split("\n")[1:3]),
        )

    def evidence(self, nonce: str) -> bytes:
        run = self.run_facts
        return SimulatedAttester(self.attester_key).evidence(
            measurement=self.measurement,
            report_data=report_data(nonce=nonce, keys=self.keys, init_data=run),
            init_data=run,
        )

    def request(self, nonce: str, **over: Any) -> AttestRequest:
        request = AttestRequest(
            nonce=nonce,
            keys=self.keys,
            job_spec=self.spec.to_bytes(),
            bundle=self.bundle.to_bytes(),
            run_id=self.run_id,
            inputs=self.inputs,
            refreshed=self.refreshed,
            evidence=self.evidence(nonce),
        )
        return replace(request, **over)
