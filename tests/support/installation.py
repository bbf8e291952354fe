"""A whole installation as its users make it: key files under passphrases, key brokers in processes of their own, data, jobs.

Runs are carried out by a process of their own (`run_worker.py`), so that all it says can be read and it can be killed.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from opaque_jobs.broker.config import key_path
from opaque_jobs.cli.demo_steps import _free_ports
from opaque_jobs.cli.drafting import Wanted, build_draft
from opaque_jobs.cli.member import create_member
from opaque_jobs.cli.org import create_organisation
from opaque_jobs.client.drafts import remember_draft
from opaque_jobs.client.keys import member_key_path, organisation_key_path
from opaque_jobs.client.publishing import attach_made_test_data, publish_dataset, share_dataset
from opaque_jobs.client.reviews import cast_vote, submit_job
from opaque_jobs.client.rosters import accept_roster
from opaque_jobs.crypto.custody import open_deposit
from opaque_jobs.crypto.key_files import open_broker_keys, open_organisation_key, open_signing_key
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.crypto.parquet import RootKey
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.custody import parse_deposit
from opaque_jobs.domain.dataset import TestDataKind
from opaque_jobs.domain.job import Code, Language, TeeKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import Trigger
from opaque_jobs.domain.tee_policy import NO_HARDWARE
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.protocol.views import DatasetView, JobView, OrganisationView, RunView
from opaque_jobs.services import Services, open_services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.broker_process import BrokerProcess
from opaque_jobs.standalone.local_session import local_session

WORKER = Path(__file__).with_name("run_worker.py")
PEOPLE = {"anna": "Hospital", "ben": "Hospital", "lea": "Laboratory"}
ANY_NUMBER = RerunTerms(
    max_runs=100,
    not_before=None,
    not_after=(datetime.now(UTC) + timedelta(days=7)).isoformat(),
    min_interval_s=0,
    schedule=None,
    variable_inputs=(),
)


@dataclass
class Installation:
    """Organisations and their members, with their brokers running: hospital (anna, ben) and laboratory (lea) if not told others.

    Args:
        home: Where; another installation's services may use it too.
        runtime: The enclave's.
        passphrases: Of each organisation and member.
        people: Member -> organisation. The first is the author.
    """

    home: Path
    runtime: Runtime
    passphrases: dict[str, str]
    people: Mapping[str, str] = field(default_factory=PEOPLE.copy)
    services: Services = field(init=False)
    organisations: dict[str, OrganisationView] = field(default_factory=dict)
    members: dict[str, MemberEntry] = field(default_factory=dict)
    signers: dict[str, SigningKey] = field(default_factory=dict)
    sealing: dict[str, SealingKey] = field(default_factory=dict)
    datasets: dict[str, DatasetView] = field(default_factory=dict)
    workspace_id: str = ""
    counter: int = 0
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def author(self) -> MemberEntry:
        return next(iter(self.members.values()))

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, database_url=f"sqlite:///{self.home / 'opaque-jobs.db'}", sandbox="bubblewrap")

    def __enter__(self) -> Self:
        self.services = open_services(self.settings, migrate=True, runtime=lambda: self.runtime)
        self._running.callback(self.services.close)
        try:
            self._enlist()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._running.close()

    def _enlist(self) -> None:
        names = sorted(set(self.people.values()))
        for name, port in zip(names, _free_ports(len(names)), strict=True):
            self.organisations[name] = create_organisation(
                self.services, name=name, passphrase=self.passphrases[name], port=port, simulated=True
            )
            self.sealing[name] = open_organisation_key(organisation_key_path(self.settings, name), self.passphrases[name])
        for name, organisation in self.people.items():
            passphrase = self.passphrases[name]
            owner = self.passphrases[organisation]
            self.members[name] = create_member(
                self.services,
                name=name,
                organisation=organisation,
                passphrase=passphrase,
                broker=lambda found, secret=owner: open_broker_keys(key_path(self.settings.broker_dir(found)), secret),
            )
            self.signers[name] = open_signing_key(member_key_path(self.settings, name), passphrase)
        brokers = [BrokerProcess(self.settings, view) for view in self.organisations.values()]
        for broker in brokers:
            broker.start(self.passphrases[broker.organisation.name])
            self._running.callback(broker.stop)
        for broker in brokers:
            broker.wait_ready()
        proposal = self.services.workspaces.create(
            actor=self.author.id, name="Study", description="", member_ids=[each.id for each in self.members.values()]
        )
        self.workspace_id = proposal.workspace_id
        for name, member in self.members.items():
            seen = proposal.roster.digest
            accept_roster(
                local_session(self.services, member), self.workspace_id, member, self.signers[name], expected_digest=seen
            )

    def add_data(self, owner: str, name: str, source: Path, *, rows: int = 20) -> None:
        """Encrypt a file as its owner does, with so many rows of synthetic test data (if any), and share it."""
        member, signer = self.members[owner], self.signers[owner]
        view = publish_dataset(local_session(self.services, member), member, signer, source=source, name=name).view
        if rows:
            attach_made_test_data(
                local_session(self.services, member),
                member,
                signer,
                view,
                kind=TestDataKind.SYNTHETIC,
                source=source,
                rows=rows,
                seed=1,
                keys=["id"],
            )
        self.datasets[name] = share_dataset(
            local_session(self.services, member), member, signer, dataset_id=view.id, workspace_id=self.workspace_id
        )

    def submitted_job(self, language: Language, text: str, columns: Mapping[str, tuple[str, ...]] | None = None) -> JobView:
        """Draft and submit a job of the author's, untested.

        Args:
            language: Of the code.
            text: The code.
            columns: Data set -> columns that it reads; None for all of everything.
        """
        read = self.datasets if columns is None else {name: self.datasets[name] for name in columns}
        wanted = Wanted(
            name="Job", description="", code=Code(language=language, text=text), template=None, parameters={},
            datasets=read, columns=columns or {}, inputs=(), rerun_terms=ANY_NUMBER, tee_kinds=(TeeKind.SIMULATED,),
            tee_policies=NO_HARDWARE,
            spark_conf={},
        )  # fmt: skip
        author, signer = self.author, self.signers[self.author.name]
        draft = build_draft(wanted)
        job = self.services.jobs.create_draft(actor=author.id, workspace_id=self.workspace_id, draft=draft)
        remember_draft(self.settings, author, job, draft)
        submit_job(
            local_session(self.services, author), author, signer, job.id, test_run_id=None, no_test_reason="a test of its own"
        )
        return job

    def approve(self, job: JobView, *names: str) -> None:
        """Vote for a job."""
        for name in names:
            member, seen = self.members[name], self.services.reviews.status(job.id, actor=self.members[name].id).digest
            cast_vote(
                local_session(self.services, member),
                member,
                self.signers[name],
                job.id,
                decision=Decision.APPROVE,
                expected_digest=seen,
            )

    def approved_job(self, language: Language, text: str) -> JobView:
        """Draft, submit and approve a job of the author's, untested."""
        job = self.submitted_job(language, text)
        self.approve(job, *(name for name in self.people if name != self.author.name))
        return job

    def queued_run(self, job: JobView) -> RunView:
        """Open a run as Airflow's gate does."""
        self.counter += 1
        return self.services.runs.open(
            job_id=job.id,
            revision=1,
            dag_run_id=f"manual__{self.counter}",
            attempt=1,
            actor=self.author.id,
            trigger=Trigger.MANUAL,
            inputs={},
        )

    def view(self, run_id: str) -> RunView:
        """Show a run as its author sees it."""
        return self.services.runs.show(run_id, actor=self.author.id)

    def carry_out(self, run_id: str, *arguments: str, said: Path, **over: Any) -> subprocess.Popen[bytes]:
        """Start a process that carries out a run; all that it prints and logs goes to a file.

        Args:
            run_id: The run.
            arguments: More of `run_worker.py`.
            said: The file.
            over: Of `Popen`.
        """
        temporary = said.parent / f"{said.name}.tmp-files"
        temporary.mkdir()
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment["PYTHONPATH"] = str(WORKER.parents[2])
        with said.open("wb") as file:
            return subprocess.Popen(
                [
                    sys.executable, "-W", "ignore", str(WORKER), str(self.home), str(self.runtime.root),
                    self.runtime.measurement, run_id, *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**environment, "TMPDIR": str(temporary), "HOME": str(temporary)},
                **over,
            )  # fmt: skip

    def broker_rows(self, organisation: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the store of an organisation's broker."""
        (store,) = self.settings.broker_dir(self.organisations[organisation].entry.id).glob("*.db")
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return connection.execute(query, parameters).fetchall()

    def root_keys(self) -> list[RootKey]:
        """Give the root keys of all data sets, opened as only the owners' brokers can."""
        found = []
        for name, view in self.organisations.items():
            keys = open_broker_keys(key_path(self.settings.broker_dir(view.entry.id)), self.passphrases[name])
            for (deposit,) in self.broker_rows(name, "SELECT deposit FROM deposits"):
                found.append(open_deposit(parse_deposit(parse_json(deposit, what="deposit")), keys.sealing)[0])
        return found
