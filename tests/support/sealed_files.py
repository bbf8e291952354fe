"""Plain files of two organisations, encrypted as their owners would, and approved jobs on them.

Every part is the product's: encryption, signatures, brokers, sandbox, agent. Only the clock stands still, and the brokers run
in this process.
"""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.broker.app import create_app
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.parquet_read import read_result
from opaque_jobs.crypto.result_file import open_result
from opaque_jobs.data.dataset_files import encrypt_file
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.job import Code, DatasetUse, JobSpec
from opaque_jobs.domain.job import Limits as JobLimits
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox import Limits
from opaque_jobs.enclave.session import SessionRequest, run_session
from opaque_jobs.protocol.enclave import BrokerRequest, BrokerResponse, Mode, Start
from opaque_jobs.protocol.result_files import KEY_FILE, LOG_FILE, RESULT_FILE, Content, open_file, seal_info
from tests.support.log_relay import relay
from tests.support.sealed_run import AppTransport
from tests.world import NOW, Organisation, World, everything

ONCE = RerunTerms(max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=())
POLICY = OutputPolicy(max_rows=100_000, max_columns=2_000, max_bytes=1 << 28, preview_rows=10)


@dataclass(frozen=True)
class Answer:
    """What an approved run gave, opened with the author's organisation's key."""

    batches: list[pa.RecordBatch]
    elapsed_s: float
    moments: dict[str, float]

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        return [row for batch in self.batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]

    @property
    def startup_s(self) -> float:
        """Seconds from the start to the first moment of the author's code."""
        return self.moments["computing"]


@dataclass
class SealedFiles:
    """Encrypted files of the world's two organisations and their brokers; runs jobs on them."""

    runtime: Runtime
    folder: Path
    heap_bytes: int = 1 << 30
    memory_bytes: int = 4 << 30
    world: World = field(default_factory=World)
    manifests: dict[str, DatasetManifest] = field(default_factory=dict)
    owners: dict[str, Organisation] = field(default_factory=dict)
    brokers: dict[str, BrokerClient] = field(default_factory=dict)
    counter: int = 0

    def add(self, sources: Mapping[str, tuple[Organisation, Path]]) -> None:
        """Encrypt files (alias -> owner and file), and give their keys to the brokers."""
        roster = self.world.make_roster()
        for organisation in self.world.organisations:
            if organisation.id not in self.brokers:
                broker = self.world.make_broker(organisation, self.folder / f"broker-{organisation.id}")
                self.brokers[organisation.id] = BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(broker)))
        for alias, (owner, source) in sources.items():
            self._encrypt(alias, owner, source)
        for organisation in self.world.organisations:
            owned = [alias for alias, (owner, _) in sources.items() if owner is organisation]
            sharings = [self.world.sharing(organisation, dataset_id=f"ds-{alias}") for alias in owned]
            self.brokers[organisation.id].push(
                key=organisation.broker.signing.public,
                roster=roster.to_bytes(),
                acceptances=self.world.acceptances(roster),
                sharings=sharings,
            )

    def _encrypt(self, alias: str, owner: Organisation, source: Path) -> None:
        made = encrypt_file(
            source,
            name=alias,
            dataset_id=f"ds-{alias}",
            version=1,
            organisation_id=owner.id,
            out_dir=self.folder / "encrypted" / alias,
            now=NOW,
            policy=everything,
        )
        self.owners[alias], self.manifests[alias] = owner, made.manifest
        deposit = self.world.deposit(owner, manifest=made.manifest, root=made.root_key, policy=made.salted.policy)
        self.brokers[owner.id].deposit(key=owner.broker.signing.public, deposit=deposit, manifest=self._envelope(alias))

    def columns(self, alias: str) -> tuple[str, ...]:
        return tuple(column.name for column in self.manifests[alias].columns)

    def _envelope(self, alias: str) -> bytes:
        return sign_manifest(self.manifests[alias], self.owners[alias].members[0].key)

    def run(self, code: Code, columns: Mapping[str, tuple[str, ...]]) -> Answer:
        """Run code as an approved job, from the start of the sandbox to the receipt, and open its result.

        Args:
            code: What runs.
            columns: Alias -> columns that it may read.
        """
        self.counter += 1
        spec, run_id = self._spec(code, columns), f"run-{self.counter}"
        out = self.folder / run_id
        out.mkdir()
        began = time.monotonic()
        moments: dict[str, float] = {}
        outcome = run_session(
            SessionRequest(
                start=self._start(spec, run_id),
                parts={alias: sorted((self.folder / "encrypted" / alias).iterdir()) for alias in columns},
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
        assert outcome.failure is None, (outcome.failure, outcome.reasons, opened.log)
        assert (out / "receipt.json").is_file()
        return Answer(batches=opened.batches, elapsed_s=elapsed_s, moments=moments)

    def _spec(self, code: Code, columns: Mapping[str, tuple[str, ...]]) -> JobSpec:
        uses = tuple(
            DatasetUse(
                alias=alias,
                dataset_id=f"ds-{alias}",
                dataset_version=1,
                manifest_digest=self.manifests[alias].digest,
                schema_digest=self.manifests[alias].schema_digest,
                policy_commitment=self.manifests[alias].policy_commitment,
                organisation_id=self.owners[alias].id,
                columns=chosen,
            )
            for alias, chosen in columns.items()
        )
        return self.world.make_spec(
            job_id=f"job-{self.counter}",  # a job of its own for every run
            code=code,
            inputs=(),
            datasets=uses,
            output_policy=POLICY,
            rerun_terms=ONCE,
            measurement=self.runtime.measurement,
            limits=JobLimits(memory_bytes=self.memory_bytes, cores=2, pids=1024, timeout_s=600, scratch_bytes=1 << 30),
        )

    def _start(self, spec: JobSpec, run_id: str) -> Start:
        return Start(
            mode=Mode.REAL.value,
            run_id=run_id,
            job_spec=base64.b64encode(spec.to_bytes()).decode(),
            bundle=base64.b64encode(self.world.make_bundle(spec, run_id=run_id).to_bytes()).decode(),
            manifests={use.alias: self._envelope(use.alias).decode() for use in spec.datasets},
            inputs={},
            heap_bytes=self.heap_bytes,
            cores=2,
            sent_at=NOW.isoformat(),
            tee="simulated",
        )

    def _relay(self, request: BrokerRequest) -> BrokerResponse:
        return relay(self.world.log, self.brokers, request)


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
    def batches(self) -> list[pa.RecordBatch]:
        key = self._content(KEY_FILE, Content.RESULT_KEY)
        inside = self.out.with_name(f"{self.out.name}-opened")
        inside.mkdir()
        files = open_result(self.out / RESULT_FILE, inside, key, run_id=self.run_id)
        return list(read_result(files, key, run_id=self.run_id))
