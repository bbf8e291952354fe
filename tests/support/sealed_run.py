"""Real runs of the real agent in the real sandbox, between real brokers, on data that was encrypted for them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.broker.app import create_app
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.parquet_read import read_result
from opaque_jobs.crypto.parquet_schema import manifest_columns, storable_schema
from opaque_jobs.crypto.parquet_write import write_dataset
from opaque_jobs.crypto.result_file import open_result
from opaque_jobs.domain.dataset import DatasetManifest, ReleasePolicy
from opaque_jobs.domain.job import Code, DatasetUse, JobSpec, Language
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox import Limits
from opaque_jobs.enclave.session import SessionOutcome, SessionRequest, run_session
from opaque_jobs.protocol.enclave import BrokerRequest, BrokerResponse, FailureWord, Mode, Start
from opaque_jobs.protocol.result_files import (
    KEY_FILE,
    LOG_FILE,
    PREVIEW_FILE,
    RESULT_FILE,
    Content,
    open_file,
    seal_info,
)
from tests.support.log_relay import relay as carried
from tests.world import NOW, Organisation, World, salted

RUN_ID = "run-7"


class AppTransport(httpx.BaseTransport):
    """Carries requests into an application in this process."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        import asyncio

        async def exchange() -> httpx.Response:
            inner = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            answer = await self._inner.handle_async_request(inner)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return asyncio.run(exchange())


@dataclass
class Done:
    """A run that ended."""

    outcome: SessionOutcome
    out: Path
    spec: JobSpec
    words: list[str]
    requests: list[BrokerRequest]

    @property
    def failure(self) -> FailureWord | None:
        return self.outcome.failure

    @property
    def test_rows(self) -> list[dict[str, Any]]:
        files = sorted((self.out / "result").glob("*.parquet"))
        return [row for path in files for row in pq.read_table(path).to_pylist()]

    @property
    def test_log(self) -> str:
        return (self.out / "log.txt").read_text()


@dataclass
class Stage:
    """A data set of one organisation, ready to be used."""

    owner: Organisation
    alias: str
    manifest: DatasetManifest
    policy: ReleasePolicy
    columns: tuple[str, ...]
    folder: Path


@dataclass
class SealedRuns:
    """Makes data sets and runs jobs on them."""

    runtime: Runtime
    folder: Path
    world: World = field(default_factory=World)
    stages: dict[str, Stage] = field(default_factory=dict)
    brokers: dict[str, BrokerClient] = field(default_factory=dict)
    deposited: set[str] = field(default_factory=set)
    counter: int = 0

    def add(
        self, owner: Organisation, alias: str, table: pa.Table, *, columns: tuple[str, ...] = (),
        policy: ReleasePolicy | None = None, **over: Any,
    ) -> Stage:  # fmt: skip
        folder = self.folder / alias
        parts = write_dataset(table.to_batches(), table.schema, folder, owner.root, **over)
        stored = storable_schema(table.schema)
        names = tuple(stored.names)
        chosen = policy or ReleasePolicy(columns=names, row_rule=None)
        manifest = owner.manifest(
            name=alias,
            columns=manifest_columns(stored),
            parts=parts,
            rows=table.num_rows,
            policy_commitment=salted(chosen).commitment,
        )
        self.stages[alias] = Stage(
            owner=owner, alias=alias, manifest=manifest, policy=chosen, columns=columns or chosen.columns, folder=folder
        )
        return self.stages[alias]

    def spec(self, code: str, language: Language, **over: Any) -> JobSpec:
        uses = tuple(
            DatasetUse(
                alias=stage.alias,
                dataset_id=stage.manifest.dataset_id,
                dataset_version=1,
                manifest_digest=stage.manifest.digest,
                schema_digest=stage.manifest.schema_digest,
                policy_commitment=stage.manifest.policy_commitment,
                organisation_id=stage.owner.id,
                columns=stage.columns,
            )
            for stage in self.stages.values()
        )
        given = {"code": Code(language=language, text=code), "datasets": uses, "measurement": self.runtime.measurement}
        return self.world.make_spec(**(given | over))

    def run_real(self, spec: JobSpec, *, inputs: Mapping[str, Any] | None = None, **over: Any) -> Done:
        """Run for real. `over` changes the start message; `parts` replaces files."""
        parts = over.pop("parts", None) or {s.alias: sorted(s.folder.iterdir()) for s in self.stages.values()}
        self.counter += 1
        roster = self.world.make_roster()
        for organisation in self.world.organisations:
            client = self.broker(organisation)
            for stage in self.stages.values():
                if stage.owner is organisation and stage.manifest.digest not in self.deposited:
                    self.deposited.add(stage.manifest.digest)
                    deposit = self.world.deposit(organisation, manifest=stage.manifest, policy=stage.policy)
                    client.deposit(key=organisation.broker.signing.public, deposit=deposit, manifest=self.envelope(stage))
            client.push(
                key=organisation.broker.signing.public,
                roster=roster.to_bytes(),
                acceptances=self.world.acceptances(roster),
                sharings=[self.world.sharing(organisation)],
            )
        given: dict[str, Any] = {
            "mode": Mode.REAL.value,
            "bundle": base64.b64encode(
                self.world.make_bundle(spec, run_id=RUN_ID, inputs=dict(inputs or {})).to_bytes()
            ).decode(),
            "manifests": {s.alias: self.envelope(s).decode() for s in self.stages.values()},
        }
        return self._run(spec, parts, given | over, dict(inputs or {}))

    def broker(self, organisation: Organisation) -> BrokerClient:
        """Reach an organisation's one broker; a second one would find releases in the log that it does not remember."""
        if organisation.id not in self.brokers:
            broker = self.world.make_broker(organisation, self.folder / f"broker-{organisation.id}")
            self.brokers[organisation.id] = BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(broker)))
        return self.brokers[organisation.id]

    def run_test(self, spec: JobSpec, tables: Mapping[str, pa.Table], *, inputs: Mapping[str, Any] | None = None) -> Done:
        """Run on plaintext test data."""
        self.counter += 1
        parts = {}
        for alias, table in tables.items():
            path = self.folder / f"test-{self.counter}" / alias / "part-00000.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(table, path)
            parts[alias] = [path]
        return self._run(spec, parts, {"mode": Mode.TEST.value, "bundle": "", "manifests": {}}, dict(inputs or {}))

    def envelope(self, stage: Stage) -> bytes:
        return sign_manifest(stage.manifest, stage.owner.members[0].key)

    def _run(self, spec, parts, start, inputs) -> Done:
        out = self.folder / f"out-{self.counter}"
        out.mkdir()
        words: list[str] = []
        requests: list[BrokerRequest] = []

        def relay(request: BrokerRequest) -> BrokerResponse:
            requests.append(request)
            return carried(self.world.log, self.brokers, request)

        message = Start(
            **(
                {
                    "run_id": RUN_ID,
                    "job_spec": base64.b64encode(spec.to_bytes()).decode(),
                    "inputs": inputs,
                    "heap_bytes": 1 << 30,
                    "cores": 2,
                    "sent_at": NOW.isoformat(),
                    "tee": "simulated",
                }
                | start
            )
        )
        limits = Limits(memory_bytes=4 << 30, pids=1024, timeout_s=180, scratch_bytes=1 << 30)
        request = SessionRequest(start=message, parts=parts, out_dir=out, limits=limits, runtime=self.runtime)
        outcome = run_session(
            request,
            relay=relay,
            attester=SimulatedAttester(self.world.development_key),
            keep_open=lambda: True,
            on_status=lambda word: words.append(word.value),
        )
        return Done(outcome=outcome, out=out, spec=spec, words=words, requests=requests)

    def opened(self, done: Done) -> dict[str, Any]:
        """Open a real run's files with the author's organisation's key."""
        key = self.world.hospital.sealing

        def content(name: str, what: Content) -> bytes:
            info = seal_info(what, workspace_id=done.spec.workspace_id, job_digest=done.spec.digest, run_id=RUN_ID)
            return open_file((done.out / name).read_bytes(), key, info)

        found: dict[str, Any] = {"log": content(LOG_FILE, Content.LOG).decode()}
        if (done.out / KEY_FILE).exists():
            result_key = content(KEY_FILE, Content.RESULT_KEY)
            inside = done.out.with_name(f"{done.out.name}-opened")
            inside.mkdir()
            files = open_result(done.out / RESULT_FILE, inside, result_key, run_id=RUN_ID)
            found["rows"] = [row for batch in read_result(files, result_key, run_id=RUN_ID) for row in batch.to_pylist()]
            found["preview"] = pa.ipc.open_stream(content(PREVIEW_FILE, Content.PREVIEW)).read_all().to_pylist()
            found["receipt"] = json.loads((done.out / "receipt.json").read_bytes())
        return found


__all__ = ["RUN_ID", "AppTransport", "Done", "SealedRuns", "Stage", "replace"]
