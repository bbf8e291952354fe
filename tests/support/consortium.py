"""Two organisations, three people and their keys, acting through the services: the cast of most service tests."""

import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from opaque_jobs.crypto.checkpoints import verify_checkpoint
from opaque_jobs.crypto.consent import sign_acceptance, sign_manifest, sign_vote, sign_withdrawal
from opaque_jobs.crypto.custody import sign_sharing
from opaque_jobs.crypto.key_changes import SignedChange, sign_key_change
from opaque_jobs.crypto.keys import SealingKey, SigningKey, VerifyKey
from opaque_jobs.crypto.release import sign_erasure, sign_hold
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.custody import Sharing
from opaque_jobs.domain.dataset import Column, DatasetManifest, Part, Source, TestDataKind
from opaque_jobs.domain.inputs import InputType, InputVariable
from opaque_jobs.domain.job import Code, JobKind, JobSpec, Language, TeeKind, parse_job_spec
from opaque_jobs.domain.key_change import KeyUse
from opaque_jobs.domain.lifecycle import RunEvent
from opaque_jobs.domain.release import Erasure, Hold, HoldScope
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import Trigger
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, RunPolicy
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import JobView, ReviewView, RosterProposal, RunView, WorkspaceView
from opaque_jobs.services import DraftDataset, JobDraft, Services, open_services
from opaque_jobs.services.access import roster_in_force
from opaque_jobs.services.closing import close_run
from opaque_jobs.settings import Settings
from opaque_jobs.store import runs as run_rows
from tests.world import everything

MEASUREMENT = "sha256:" + "5e" * 32
COLUMNS = (Column(name="id", type="int64"), Column(name="value", type="double"))
START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that moves when told to."""

    moment: datetime = START

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **spans: float) -> None:
        self.moment += timedelta(**spans)


@dataclass
class Person:
    """A member with the private key that the services never see."""

    entry: MemberEntry
    key: SigningKey

    @property
    def id(self) -> str:
        return self.entry.id


@dataclass
class Organisation:
    """An organisation with its private keys."""

    entry: OrganisationEntry
    sealing: SealingKey
    deposit: SealingKey
    signing: SigningKey


def make_organisation(name: str) -> Organisation:
    sealing, deposit, signing = SealingKey.generate(), SealingKey.generate(), SigningKey.generate()
    entry = OrganisationEntry(
        id=f"org-{name}",
        name=name,
        sealing_key=sealing.public.text,
        broker_deposit_key=deposit.public.text,
        broker_signing_key=signing.public.text,
    )
    return Organisation(entry=entry, sealing=sealing, deposit=deposit, signing=signing)


def make_person(name: str, organisation_id: str) -> Person:
    key = SigningKey.generate()
    return Person(
        entry=MemberEntry(id=f"member-{name}", name=name, organisation_id=organisation_id, public_key=key.public.text),
        key=key,
    )


def make_input(**over: Any) -> InputVariable:
    given = {
        "name": "floor",
        "type": InputType.INTEGER,
        "description": "",
        "default": 5,
        "constraints": (),
        "sensitive": False,
    }
    return InputVariable(**(given | over))


@dataclass
class Consortium:
    """The cast: hospital (anna, ben) and laboratory (lea); mallory works at the laboratory but is in no workspace."""

    services: Services
    clock: Clock
    organisations: dict[str, Organisation] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    workspace_id: str = ""
    dataset_ids: dict[str, str] = field(default_factory=dict)
    counter: int = 0
    unshared: list[str] = field(default_factory=list)
    holds: dict[str, list[str]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.services.context.settings.home

    def id(self, name: str) -> str:
        return self.people[name].id

    def enlist(self) -> None:
        for name in ("hospital", "laboratory"):
            made = make_organisation(name)
            self.organisations[name] = made
            self.services.workspaces.register_organisation(made.entry, broker_address="http://127.0.0.1:8701")
        for name, home in (("anna", "hospital"), ("ben", "hospital"), ("lea", "laboratory"), ("mallory", "laboratory")):
            self.people[name] = make_person(name, f"org-{home}")
            self.services.workspaces.register_member(self.people[name].entry)

    def propose_workspace(self, *names: str, name: str = "Study", **over: Any) -> RosterProposal:
        return self.services.workspaces.create(
            actor=self.id(names[0]),
            name=name,
            description="",
            member_ids=[self.id(each) for each in names],
            **({"run_policy": RunPolicy.AUTHOR} | over),
        )

    def accept(self, proposal: RosterProposal, name: str) -> WorkspaceView:
        person = self.people[name]
        envelope = sign_acceptance(proposal.roster, proposal.roster.member(person.id), person.key, now=self.clock())
        return self.services.workspaces.accept(workspace_id=proposal.workspace_id, envelope=envelope)

    def make_workspace(self, *names: str, **over: Any) -> str:
        proposal = self.propose_workspace(*names, **over)
        for name in dict.fromkeys(names):
            self.accept(proposal, name)
        return proposal.workspace_id

    def change_members(self, *names: str) -> WorkspaceView:
        proposal = self.services.workspaces.propose_change(
            actor=self.id("anna"), workspace_id=self.workspace_id, member_ids=[self.id(each) for each in names]
        )
        for name in names:
            view = self.accept(proposal, name)
        return view

    def signed_change(self, name: str, fresh: SigningKey, by: SigningKey | None = None, **over: Any) -> SignedChange:
        """Sign that a member has another key now, with the key before unless told otherwise."""
        person = self.people[name]
        said = {
            "owner_id": person.id,
            "use": KeyUse.SIGNING,
            "old_key_id": person.entry.key_id,
            "new_key": fresh.public.text,
            "now": self.clock(),
        } | over
        return SignedChange(
            word=sign_key_change(signer=by or person.key, **said), possession=sign_key_change(signer=fresh, **said)
        )

    def change_key(self, name: str, fresh: SigningKey, by: SigningKey | None = None) -> None:
        """Give a member another key, and propose it everywhere."""
        person = self.people[name]
        entry = self.services.keys.change_member_key(person.id, signed=self.signed_change(name, fresh, by))
        self.people[name] = replace(person, entry=entry, key=fresh)
        self.services.workspaces.propose_keys(person.id)

    def accept_waiting(self, *names: str) -> WorkspaceView:
        """Accept the member list that waits."""
        for name in names:
            view = self.services.workspaces.show(self.workspace_id, actor=self.id(name))
            view = self.accept(view.proposal, name)
        return view

    def manifest(self, name: str, owner: str, *, version: int = 1, **over: Any) -> tuple[DatasetManifest, Path]:
        dataset_id = f"ds-{name}"
        folder = self.services.context.settings.dataset_dir(dataset_id, version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part-00000.parquet").write_bytes(b"ciphertext")
        manifest = DatasetManifest(
            v=1,
            dataset_id=dataset_id,
            dataset_version=version,
            organisation_id=self.people[owner].entry.organisation_id,
            name=name,
            columns=COLUMNS,
            parts=(Part(name="part-00000.parquet", size_bytes=10, sha256=digest(b"ciphertext"), rows=3),),
            rows=3,
            policy_commitment=everything(COLUMNS).commitment,
            created_at=START.isoformat(),
        )
        return replace(manifest, **over), folder

    def make_dataset(self, name: str, owner: str, *, share: bool = True, test_data: bool = True) -> str:
        manifest, folder = self.manifest(name, owner)
        view = self.services.datasets.register(
            actor=self.id(owner),
            envelope=sign_manifest(manifest, self.people[owner].key),
            storage=folder,
            source=Source.LOCAL,
            description="",
        )
        if test_data:
            mock = self.home / "mock" / name
            mock.mkdir(parents=True)
            (mock / "part-00000.parquet").write_bytes(b"test")
            self.services.datasets.attach_test_data(actor=self.id(owner), dataset_id=view.id, kind=TestDataKind.MOCK, path=mock)
        if share:
            self.share(view.id, owner)
        self.dataset_ids[name] = view.id
        return view.id

    def share(self, dataset_id: str, name: str, *, workspace_id: str = "", by: str = "", back: bool = False) -> Any:
        """Share a data set as somebody, or take it back.

        Args:
            dataset_id: The data set.
            name: Who acts.
            workspace_id: Where; the one of all if left out.
            by: Who signs; the same person if left out.
            back: Take it back.
        """
        where = workspace_id or self.workspace_id
        act = self.services.datasets.unshare if back else self.services.datasets.share
        envelope = self.sharing(dataset_id, by or name, workspace_id=where, shared=not back)
        return act(actor=self.id(name), dataset_id=dataset_id, workspace_id=where, envelope=envelope)

    def sharing(self, dataset_id: str, name: str, *, workspace_id: str = "", **over: Any) -> bytes:
        """Sign a sharing statement."""
        where = workspace_id or self.workspace_id
        with self.services.context.store.read() as session:
            roster = roster_in_force(session, where)
        given: dict[str, Any] = {
            "v": 1,
            "dataset_id": dataset_id,
            "organisation_id": self.people[name].entry.organisation_id,
            "workspace_id": where,
            "workspace_genesis": roster.genesis_digest if roster else digest(b""),
            "shared": True,
            "lifts": tuple(self.unshared) if over.get("shared", True) else (),
            "nonce": token_hex(8),
            "issued_at": self.clock().isoformat(),
        }
        said = Sharing(**(given | over))
        if not said.shared:
            self.unshared.append(said.digest)
        return sign_sharing(said, self.people[name].key)

    def hold(self, name: str, *, held: bool) -> bytes:
        """Sign a hold on everything of a person's organisation, or a lift of all that this cast signed before."""
        organisation = self.people[name].entry.organisation_id
        before = self.holds.setdefault(organisation, [])
        said = Hold(
            v=1,
            organisation_id=organisation,
            scope=HoldScope.ALL,
            subject=organisation,
            held=held,
            lifts=() if held else tuple(before),
            nonce=token_hex(8),
            issued_at=self.clock().isoformat(),
        )
        if held:
            before.append(said.digest)
        return sign_hold(said, self.people[name].key)

    def settle_in(self) -> None:
        """Make the workspace of anna, ben and lea, with one data set of each side."""
        self.workspace_id = self.make_workspace("anna", "ben", "lea")
        self.make_dataset("patients", "anna")
        self.make_dataset("findings", "lea")

    def draft(self, **over: Any) -> JobDraft:
        given: dict[str, Any] = {
            "kind": JobKind.NOTEBOOK,
            "tee_kinds": (TeeKind.SIMULATED,),
            "name": "Overlap",
            "code": Code(language=Language.SQL, text="SELECT count(*) AS n FROM patients JOIN findings USING (id)"),
            "datasets": tuple(DraftDataset(alias=name, dataset_id=each) for name, each in self.dataset_ids.items()),
        }
        return JobDraft(**(given | over))

    def make_job(self, **over: Any) -> JobView:
        return self.services.jobs.create_draft(actor=self.id("anna"), workspace_id=self.workspace_id, draft=self.draft(**over))

    def spec(self, job_id: str) -> JobSpec:
        revisions = self.services.jobs.show(job_id, actor=self.id("anna")).revisions
        return parse_job_spec(revisions[-1].spec_bytes)

    def sign(self, spec: JobSpec, name: str, decision: Decision = Decision.APPROVE, comment: str | None = None) -> bytes:
        person = self.people[name]
        return sign_vote(spec, person.entry, person.key, decision=decision, comment=comment, seen=self.seen(), now=self.clock())

    def seen(self) -> str:
        """What a member's client says of the newest checkpoint."""
        head = self.services.logs.head(self.workspace_id, actor=self.id("anna"))
        key = VerifyKey.parse(head.log_key)
        return verify_checkpoint(head.checkpoint, key, workspace_id=self.workspace_id).seen

    def submit(self, job_id: str, *, deadline: datetime | None = None, **over: Any) -> ReviewView:
        spec = self.services.jobs.spec_for_submission(job_id, actor=self.id("anna"))
        spec = replace(spec, review_until=deadline and deadline.isoformat())
        given = {"no_test_reason": "tested elsewhere"} if "test_run_id" not in over else {}
        return self.services.reviews.submit(
            job_id=job_id, spec=spec.to_bytes(), envelope=self.sign(spec, "anna"), **(given | over)
        )

    def vote(self, job_id: str, name: str, decision: Decision = Decision.APPROVE, comment: str | None = None) -> ReviewView:
        if decision is Decision.REJECT and comment is None:
            comment = "not like this"
        envelope = self.sign(self.spec(job_id), name, decision, comment)
        withdrawal = self.withdrawal(self.spec(job_id), name) if decision is Decision.REJECT else None
        return self.services.reviews.vote(job_id=job_id, envelope=envelope, comment=comment, withdrawal=withdrawal)

    def withdrawal(self, spec: JobSpec, name: str) -> bytes:
        person = self.people[name]
        return sign_withdrawal(spec, person.entry, person.key, now=self.clock())

    def cancel_review(self, job_id: str) -> ReviewView:
        if not self.show(job_id).revisions:
            raise ConflictError("nothing was submitted")
        withdrawal = self.withdrawal(self.spec(job_id), "anna")
        return self.services.reviews.cancel_review(actor=self.id("anna"), job_id=job_id, withdrawal=withdrawal)

    def forget_keys(self, dataset: str, by: str, *, organisation: str = "hospital", **over: Any) -> tuple[str, ...]:
        """Enter that an organisation's broker has destroyed a data set's keys."""
        owner, dataset_id = self.organisations[organisation], self.dataset_ids[dataset]
        given = {"v": 1, "organisation_id": owner.entry.id, "dataset_id": dataset_id, "versions": (1,)}
        said = Erasure(**(given | {"erased_at": self.clock().isoformat()} | over))
        envelope = sign_erasure(said, owner.signing)
        return self.services.datasets.record_erasure(actor=self.id(by), dataset_id=dataset_id, envelope=envelope)

    def withdraw(self, job_id: str, name: str, spec: JobSpec | None = None) -> ReviewView:
        return self.services.reviews.withdraw(job_id=job_id, envelope=self.withdrawal(spec or self.spec(job_id), name))

    def accepted_job(self, **over: Any) -> JobView:
        job = self.make_job(**over)
        self.submit(job.id)
        self.vote(job.id, "ben")
        self.vote(job.id, "lea")
        return self.show(job.id)

    def show(self, job_id: str) -> JobView:
        return self.services.jobs.show(job_id, actor=self.id("anna"))

    def open_run(self, job_id: str, revision: int = 1, **over: Any) -> RunView:
        self.counter += 1
        given: dict[str, Any] = {
            "dag_run_id": f"manual__{self.counter}",
            "attempt": 1,
            "actor": self.id("anna"),
            "trigger": Trigger.MANUAL,
            "inputs": {},
        }
        return self.services.runs.open(job_id=job_id, revision=revision, **(given | over))

    def finish(self, run_id: str, event: RunEvent = RunEvent.SUCCEED) -> None:
        """Close a run in the store, as execution would."""
        with self.services.context.store.write() as session:
            close_run(self.services.context, session, run_rows.run(session, run_id), event, actor=None, now=self.clock())

    def passed_test(self, job_id: str) -> str:
        run = self.services.runs.start_test(actor=self.id("anna"), job_id=job_id, inputs={})
        self.services.runs.start(run.id)
        self.finish(run.id)
        return run.id


def _services(home: Path, clock: Clock, database_url: str | None, *, migrate: bool) -> Services:
    settings = Settings(home=home, database_url=database_url or f"sqlite:///{home / 'opaque-jobs.db'}", sandbox="bubblewrap")
    runtime = Runtime(root=home, measurement=MEASUREMENT)
    return open_services(settings, migrate=migrate, now=clock, runtime=lambda: runtime)


def open_consortium(home: Path, database_url: str | None = None) -> Consortium:
    """Open fresh services in a folder and enlist everybody."""
    clock = Clock()
    consortium = Consortium(services=_services(home, clock, database_url, migrate=True), clock=clock)
    consortium.enlist()
    return consortium


def copy_consortium(origin: Consortium, home: Path) -> Consortium:
    """Give a copy of a consortium whose services are closed, in a folder of its own; its people keep their keys."""
    shutil.copytree(origin.home, home)
    clock = Clock(moment=origin.clock.moment)
    return replace(
        origin,
        services=_services(home, clock, None, migrate=False),
        clock=clock,
        organisations=dict(origin.organisations),
        people=dict(origin.people),
        dataset_ids=dict(origin.dataset_ids),
    )
