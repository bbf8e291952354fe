"""TPC-H between two organisations: one encrypts orders and lineitem, the other the rest; each query is an approved job.

Every part is the product's: encryption, signatures, brokers, sandbox, agent. Only the clock stands still, and brokers run in
this process.
"""

import base64
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.broker.app import create_app
from opaque_jobs.broker.client import BrokerClient
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.parquet_read import read_result
from opaque_jobs.domain.dataset import DatasetManifest, ReleasePolicy
from opaque_jobs.domain.job import Code, DatasetUse, JobSpec, Language
from opaque_jobs.domain.job import Limits as JobLimits
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.enclave.agent.result_files import KEY_FILE, LOG_FILE, Content, open_file, seal_info
from opaque_jobs.enclave.protocol import BrokerRequest, BrokerResponse, Mode, Start
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox import Limits
from opaque_jobs.enclave.session import SessionRequest, run_session
from opaque_jobs.services.dataset_files import encrypt_file
from tests.support.sealed_run import AppTransport
from tests.tpch.answers import columns_of
from tests.tpch.queries import OWNERS, TABLES, Query
from tests.world import NOW, Organisation, World

ONCE = RerunTerms(max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=())
POLICY = OutputPolicy(max_rows=100_000, max_columns=20, max_bytes=1 << 28, preview_rows=10)


def generate(folder: Path, *, scale_factor: float) -> Path:
    """Generate the eight tables as plain Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).parent / "tpchgen-cli"
    command = [str(program), "parquet", "-q", "-s", str(scale_factor), "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return folder


@dataclass(frozen=True)
class Answer:
    """What an approved run gave, opened with the author's organisation's key."""

    rows: list[tuple[Any, ...]]
    elapsed_s: float
    moments: dict[str, float]

    @property
    def startup_s(self) -> float:
        """Seconds from the start to the first moment of the author's code."""
        return self.moments["computing"]


@dataclass
class SealedTpch:
    """Both organisations' encrypted tables and their brokers; runs queries as approved jobs."""

    runtime: Runtime
    folder: Path
    scale_factor: float
    heap_bytes: int = 1 << 30
    memory_bytes: int = 4 << 30
    world: World = field(default_factory=World)
    manifests: dict[str, DatasetManifest] = field(default_factory=dict)
    brokers: dict[str, BrokerClient] = field(default_factory=dict)
    counter: int = 0

    def encrypt(self, data: Path, *, told: Callable[[str], None] = lambda _table: None) -> None:
        """Encrypt all tables and deposit their keys."""
        world = self.world
        roster = world.make_roster()
        for organisation in world.organisations:
            broker = world.make_broker(organisation, self.folder / f"broker-{organisation.id}")
            self.brokers[organisation.id] = BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(broker)))
        for table in TABLES:
            told(table)
            self._encrypt(table, data)
        for organisation in world.organisations:
            owned = [table for table in TABLES if self.owner(table) is organisation]
            sharings = [world.sharing(organisation, dataset_id=f"ds-{table}") for table in owned]
            self.brokers[organisation.id].push(
                roster=roster.to_bytes(), acceptances=world.acceptances(roster), sharings=sharings
            )

    def owner(self, table: str) -> Organisation:
        """Give the organisation that owns a table."""
        return self.world.hospital if OWNERS[table] == "a" else self.world.laboratory

    def _encrypt(self, table: str, data: Path) -> None:
        owner = self.owner(table)
        made = encrypt_file(
            data / f"{table}.parquet",
            name=table,
            dataset_id=f"ds-{table}",
            version=1,
            organisation_id=owner.id,
            out_dir=self.folder / "encrypted" / table,
            now=NOW,
        )
        self.manifests[table] = made.manifest
        policy = ReleasePolicy(columns=tuple(column.name for column in made.manifest.columns), row_conditions=())
        deposit = self.world.deposit(owner, manifest=made.manifest, root=made.root_key, policy=policy)
        self.brokers[owner.id].deposit(deposit=deposit, manifest=self._envelope(table))

    def _envelope(self, table: str) -> bytes:
        return sign_manifest(self.manifests[table], self.owner(table).members[0].key)

    def spec(self, query: Query) -> JobSpec:
        """Give the job that everybody approves: the query, and of its tables only the columns that it names."""
        uses = tuple(
            DatasetUse(
                alias=table,
                dataset_id=f"ds-{table}",
                dataset_version=1,
                manifest_digest=self.manifests[table].digest,
                organisation_id=self.owner(table).id,
                columns=columns_of(query, [column.name for column in self.manifests[table].columns]),
            )
            for table in query.tables
        )
        limits = JobLimits(memory_bytes=self.memory_bytes, cores=2, pids=1024, timeout_s=600, scratch_bytes=1 << 30)
        return self.world.make_spec(
            job_id=f"job-q{query.number}",
            name=f"TPC-H Q{query.number}",
            code=Code(language=Language.SQL, text=query.sql(scale_factor=self.scale_factor)),
            inputs=(),
            datasets=uses,
            output_policy=POLICY,
            rerun_terms=ONCE,
            revision=self.counter,  # every run is of a job of its own, so that ONCE holds
            measurement=self.runtime.measurement,
            limits=limits,
        )

    def run(self, query: Query) -> Answer:
        """Run a query as an approved job, from the start of the sandbox to the receipt, and open its result."""
        self.counter += 1
        spec = self.spec(query)
        run_id = f"run-{self.counter}"
        out = self.folder / run_id
        out.mkdir()
        began, moments = time.monotonic(), {}
        outcome = run_session(
            SessionRequest(
                start=self._start(spec, run_id),
                parts={table: sorted((self.folder / "encrypted" / table).iterdir()) for table in query.tables},
                out_dir=out,
                limits=Limits(memory_bytes=self.memory_bytes, pids=1024, timeout_s=600, scratch_bytes=1 << 30),
                runtime=self.runtime,
            ),
            relay=self._relay,
            attester=SimulatedAttester(self.world.development_key),
            keep_open=lambda: True,
            on_status=lambda word: moments.setdefault(word.value, time.monotonic() - began),
        )
        elapsed_s = time.monotonic() - began
        opened = _Opener(out, spec, run_id, self.world)
        assert outcome.failure is None, (query.number, outcome.failure, outcome.reasons, opened.log)
        assert (out / "receipt.json").is_file()
        return Answer(rows=opened.rows, elapsed_s=elapsed_s, moments=moments)

    def _start(self, spec: JobSpec, run_id: str) -> Start:
        return Start(
            mode=Mode.REAL.value,
            run_id=run_id,
            job_spec=base64.b64encode(spec.to_bytes()).decode(),
            bundle=base64.b64encode(self.world.make_bundle(spec).to_bytes()).decode(),
            manifests={use.alias: self._envelope(use.alias).decode() for use in spec.datasets},
            inputs={},
            heap_bytes=self.heap_bytes,
            cores=2,
            sent_at=NOW.isoformat(),
        )

    def _relay(self, request: BrokerRequest) -> BrokerResponse:
        answer = self.brokers[request.org_id].relay(
            method=request.method, path=request.path, cookie=request.cookie, body=request.body
        )
        return BrokerResponse(request_id=request.request_id, status=answer.status, cookie=answer.cookie, body=answer.body)


@dataclass(frozen=True)
class _Opener:
    """Opens a run's files with the key of the author's organisation."""

    out: Path
    spec: JobSpec
    run_id: str
    world: World

    def _content(self, name: str, what: Content) -> bytes:
        info = seal_info(what, workspace_id=self.spec.workspace_id, job_digest=self.spec.digest, run_id=self.run_id)
        return open_file((self.out / name).read_bytes(), self.world.hospital.sealing, info)

    @property
    def log(self) -> str:
        return self._content(LOG_FILE, Content.LOG).decode() if (self.out / LOG_FILE).exists() else ""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        files = sorted((self.out / "result").iterdir())
        batches = read_result(files, self._content(KEY_FILE, Content.RESULT_KEY), run_id=self.run_id)
        return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
