"""Runs a job's code as a test run in the real sandbox, for tests: small tables in, result and log out."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.data.test_data import write_test_data
from opaque_jobs.domain.inputs import InputVariable
from opaque_jobs.domain.job import Code, DatasetUse, JobKind, JobSpec, Limits, Recipient, TeeKind
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.tee_policy import NO_HARDWARE
from opaque_jobs.enclave import sandbox
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.session import SessionRequest, run_session
from opaque_jobs.protocol.enclave import FailureWord, Mode, Start

MEMORY_BYTES = 3 << 30
HEAP_BYTES = 1200 << 20
CORES = 2
DIGEST = "sha256:" + "00" * 32
ONCE = RerunTerms(max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=())


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """What a test run left."""

    failure: FailureWord | None
    table: pa.Table | None
    log: str
    elapsed_s: float


def job_spec(code: Code, datasets: Mapping[str, tuple[str, ...]], **over: Any) -> JobSpec:
    key = SealingKey.generate().public
    fields: dict[str, Any] = {
        "v": 1,
        "workspace_id": "ws-1",
        "workspace_genesis": DIGEST,
        "epoch": 1,
        "roster_digest": DIGEST,
        "job_id": "job-1",
        "revision": 1,
        "author_id": "member-1",
        "name": "Test",
        "description": "",
        "kind": JobKind.NOTEBOOK,
        "code": code,
        "template": None,
        "inputs": (),
        "datasets": tuple(
            DatasetUse(
                alias=alias,
                dataset_id=f"ds-{alias}",
                dataset_version=1,
                manifest_digest=DIGEST,
                schema_digest=DIGEST,
                policy_commitment=DIGEST,
                organisation_id="org-1",
                columns=columns,
            )
            for alias, columns in datasets.items()
        ),
        "output_policy": OutputPolicy(max_rows=1_000_000, max_columns=2_000, max_bytes=1 << 30, preview_rows=10),
        "recipients": (Recipient(organisation_id="org-1", sealing_key=key.text, sealing_key_id=key.key_id),),
        "rerun_terms": ONCE,
        "measurement": DIGEST,
        "tee_kinds": (TeeKind.SIMULATED,),
        "tee_policies": NO_HARDWARE,
        "spark_conf": {},
        "limits": Limits(memory_bytes=MEMORY_BYTES, cores=CORES, pids=1024, timeout_s=600, scratch_bytes=1 << 30),
    }
    return JobSpec(**(fields | over))


def run_test_job(
    runtime: Runtime,
    folder: Path,
    code: Code,
    tables: Mapping[str, pa.Table],
    *,
    inputs: Mapping[str, Any] | None = None,
    variables: tuple[InputVariable, ...] = (),
    spark_conf: Mapping[str, str] | None = None,
) -> JobOutcome:
    """Run code on plain tables in the sandbox, as a member's test run does."""
    for alias, table in tables.items():
        write_test_data(table, folder / "data" / alias)
    out = folder / "out"
    out.mkdir(parents=True)
    spec = job_spec(
        code,
        {alias: tuple(table.column_names) for alias, table in tables.items()},
        inputs=variables,
        spark_conf=dict(spark_conf or {}),
    )
    start = Start(
        mode=Mode.TEST,
        run_id="run-1",
        job_spec=base64.b64encode(spec.to_bytes()).decode(),
        bundle="",
        manifests={},
        inputs=dict(inputs or {}),
        heap_bytes=HEAP_BYTES,
        cores=CORES,
        sent_at="2026-01-01T00:00:00+00:00",
        tee="",
    )
    limits = sandbox.Limits(memory_bytes=MEMORY_BYTES, pids=1024, timeout_s=600, scratch_bytes=1 << 30)
    parts = {alias: sorted((folder / "data" / alias).iterdir()) for alias in tables}
    outcome = run_session(
        SessionRequest(start=start, parts=parts, out_dir=out, limits=limits, runtime=runtime),
        relay=_no_broker,
        attester=_NoAttester(),
        keep_open=lambda: True,
        on_status=lambda _word: None,
    )
    log = out / "log.txt"
    return JobOutcome(
        failure=outcome.failure,
        table=read_result(out / "result") if outcome.failure is None else None,
        log=log.read_text() if log.exists() else "",
        elapsed_s=outcome.elapsed_s,
    )


def read_result(folder: Path) -> pa.Table:
    """Read Spark's plain result files in order."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.iterdir())])


def _no_broker(_request: object) -> Any:
    raise AssertionError("a test run asks no broker")


class _NoAttester:
    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:
        raise AssertionError("a test run is not attested")
