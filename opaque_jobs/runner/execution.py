"""Carry out one run: assemble what the enclave needs, let it run, check the receipt, publish result and receipt together."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from opaque_jobs.attestation.evidence import Attester
from opaque_jobs.domain.job import JobSpec, TeeKind, parse_job_spec
from opaque_jobs.domain.lifecycle import RunEvent, RunState
from opaque_jobs.domain.padding import padded_size
from opaque_jobs.domain.run import Receipt, RunKind
from opaque_jobs.enclave.sandbox import Limits
from opaque_jobs.enclave.session import SessionOutcome, SessionRequest, run_session
from opaque_jobs.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    OpaqueJobsError,
    SandboxError,
    TrustError,
)
from opaque_jobs.protocol.enclave import BrokerRequest, BrokerResponse, FailureWord, Mode, Start, StatusWord
from opaque_jobs.protocol.result_files import RECEIPT_FILE, log_file
from opaque_jobs.runner.lease import RunLease
from opaque_jobs.runner.relay import BrokerRelay
from opaque_jobs.services import Services
from opaque_jobs.services.attesting import find_attester
from opaque_jobs.services.closing import close_run
from opaque_jobs.services.datasets import claimed_manifest
from opaque_jobs.services.refreshes import refreshed_envelopes, version_read
from opaque_jobs.storage.publishing import keep_only, publish, scratch_folder
from opaque_jobs.store import datasets as dataset_rows
from opaque_jobs.store import runs as rows
from opaque_jobs.store.records import RunRecord
from opaque_jobs.store.words import CloseReason
from opaque_jobs.verify.own_trust import own_trust
from opaque_jobs.verify.receipts import verify_receipt

__all__ = ["RunOutcome", "SessionRunner", "execute", "execute_test"]

_CLOSE_REASONS: Final = {word: CloseReason(word.value) for word in FailureWord}
"""Made when this is imported: a word of the enclave's that the database does not know is found before any run."""
_UNEXPLAINED: Final = (FailureWord.CANCELLED, FailureWord.INTERNAL)
"""How a session ends whose enclave was ended from outside."""
_AGAIN: Final = (CloseReason.SANDBOX_UNAVAILABLE, CloseReason.STOPPED, CloseReason.WORKER_LOST)
_HEAP_SHARE: Final = 0.4
"""Of the sandbox's memory; the rest is for the agent, Python workers, Spark off-heap and scratch."""
_MARGIN_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Args:
        run_id: The run.
        state: `succeeded`, `failed` or `cancelled`.
        reason: Closed word; None on success.
        reasons: A broker's refusal codes.
        retryable: Only the sandbox or its worker was to blame: another attempt may succeed.
    """

    run_id: str
    state: RunState
    reason: str | None
    reasons: tuple[str, ...]
    retryable: bool


class SessionRunner(Protocol):
    """What runs the agent: `enclave.session.run_session`, or a stand-in in tests."""

    def __call__(
        self,
        request: SessionRequest,
        *,
        relay: Callable[[BrokerRequest], BrokerResponse],
        attester: Attester,
        keep_open: Callable[[], bool],
        on_status: Callable[[StatusWord], None],
    ) -> SessionOutcome:
        """Run the agent once; see `run_session`."""


def execute(
    services: Services,
    run_id: str,
    *,
    cores: int,
    memory_bytes: int,
    keep_open: Callable[[], bool] = lambda: True,
    on_status: Callable[[str], None] = lambda _word: None,
    session: SessionRunner = run_session,
) -> RunOutcome:
    """Carry out a queued real run whose gate is open, to its end.

    Args:
        services: The services.
        run_id: The run.
        cores: Threads for the engine, from the Spark connection; capped by the approved limits.
        memory_bytes: Memory of the sandbox, likewise.
        keep_open: Asked every few seconds; False ends the enclave.
        on_status: Told each status word.
        session: What runs the agent.

    Raises:
        ConflictError: The run is not queued, or its gate is not open.
        ConfigurationError: The machine lacks something; the run is closed as failed.
    """
    return _carry_out(
        _Call(services, run_id, cores=cores, memory_bytes=memory_bytes, session=session), RunKind.REAL, keep_open, on_status
    )


def execute_test(
    services: Services,
    run_id: str,
    *,
    cores: int,
    memory_bytes: int,
    keep_open: Callable[[], bool] = lambda: True,
    on_status: Callable[[str], None] = lambda _word: None,
    session: SessionRunner = run_session,
) -> RunOutcome:
    """Carry out a queued test run on test data, in the same sandbox, without brokers, keys or receipt.

    Raises:
        ConflictError: The run is not queued.
        ConfigurationError: The machine lacks something; the run is closed as failed.
    """
    return _carry_out(
        _Call(services, run_id, cores=cores, memory_bytes=memory_bytes, session=session), RunKind.TEST, keep_open, on_status
    )


class _Call:
    """One call's facts, so that the steps below stay short."""

    def __init__(self, services: Services, run_id: str, *, cores: int, memory_bytes: int, session: SessionRunner) -> None:
        self.services = services
        self.context = services.context
        self.run_id = run_id
        self.cores = cores
        self.memory_bytes = memory_bytes
        self.session = session


def _carry_out(call: _Call, kind: RunKind, keep_open: Callable[[], bool], on_status: Callable[[str], None]) -> RunOutcome:
    record = _record(call)
    if record.kind is not kind:
        raise ConflictError("the run is of the other kind", hint="test runs and real runs are carried out differently")
    call.services.runs.start(call.run_id)
    record = _record(call)
    settings = call.context.settings
    final = settings.result_dir(record.id) if kind is RunKind.REAL else settings.test_dir(record.id)
    try:
        with scratch_folder(final) as folder, RunLease(call.services.runs, call.run_id, keep_open) as lease:
            outcome = _session(call, record, folder, lease=lease, on_status=on_status)
            with _storage():
                return _close(call, record, folder, final, outcome)
    except SandboxError:
        return _failed(call, CloseReason.SANDBOX_UNAVAILABLE, retryable=True)
    except ConfigurationError:
        _failed(call, CloseReason.SANDBOX_UNAVAILABLE)
        raise
    except (InvalidInputError, NotFoundError):
        return _failed(call, CloseReason.DATA_REFUSED)
    except TrustError:
        return _failed(call, CloseReason.INTERNAL)
    except _BrokenOffError as broken:
        return _failed(call, broken.reason, retryable=broken.retryable)
    except BaseException as error:  # not an Exception: told to end, by a signal or the interpreter
        _failed(call, CloseReason.INTERNAL if isinstance(error, Exception) else CloseReason.STOPPED)
        raise


class _BrokenOffError(Exception):
    """The host's side cannot go on with the run, for a reason of its own."""

    def __init__(self, reason: CloseReason, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise _BrokenOffError(CloseReason.STORAGE_FAILED) from None


def _record(call: _Call) -> RunRecord:
    with call.context.store.read() as session:
        return rows.run(session, call.run_id)


def _session(
    call: _Call, record: RunRecord, folder: Path, *, lease: RunLease, on_status: Callable[[str], None]
) -> SessionOutcome:
    spec = parse_job_spec(record.spec)
    runtime = call.context.runtime()
    memory = min(call.memory_bytes, spec.limits.memory_bytes)
    with _storage():
        manifests, parts = _data(call, record, spec)
    attester = find_attester(call.context.settings) if record.kind is RunKind.REAL else _NoAttester()
    request = SessionRequest(
        start=Start(
            mode=_mode(record).value,
            run_id=record.id,
            job_spec=_base64(record.spec),
            bundle=_base64(record.bundle or b""),
            manifests=manifests,
            inputs=_settable(record, spec),
            heap_bytes=int(memory * _HEAP_SHARE),
            cores=max(1, min(call.cores, spec.limits.cores)),
            sent_at=call.context.now().isoformat(),
            tee=attester.kind.value if record.kind is RunKind.REAL else "",
        ),
        parts=parts,
        out_dir=folder,
        limits=Limits(
            memory_bytes=memory,
            pids=spec.limits.pids,
            timeout_s=spec.limits.timeout_s,
            scratch_bytes=spec.limits.scratch_bytes,
            result_bytes=min(memory, spec.output_policy.max_bytes + _MARGIN_BYTES),
            out_bytes=padded_size(spec.output_policy.max_bytes) + _MARGIN_BYTES,
        ),
        runtime=runtime,
    )

    def tell(word: StatusWord) -> None:
        lease.tell(word.value)
        try:
            on_status(word.value)
        except OSError:
            raise _BrokenOffError(CloseReason.WORKER_LOST, retryable=True) from None  # nobody hears it any more

    with BrokerRelay(call.context, spec, run_id=record.id, asks_for_keys=lease.asks_for_keys) as relay:
        outcome = call.session(request, relay=relay, attester=attester, keep_open=lease.keep, on_status=tell)
    if outcome.failure in _UNEXPLAINED and lease.stopped:
        raise _BrokenOffError(CloseReason.STOPPED, retryable=True)
    return outcome


def _mode(record: RunRecord) -> Mode:
    return Mode.REAL if record.kind is RunKind.REAL else Mode.TEST


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _settable(record: RunRecord, spec: JobSpec) -> dict[str, object]:
    """Give what a runner may set; the enclave fills in the rest and refuses anything else."""
    if record.kind is RunKind.TEST:
        return dict(record.inputs)
    return {name: value for name, value in record.inputs.items() if name in spec.rerun_terms.variable_inputs}


def _data(call: _Call, record: RunRecord, spec: JobSpec) -> tuple[dict[str, str], Mapping[str, Sequence[Path]]]:
    manifests: dict[str, str] = {}
    parts: dict[str, Sequence[Path]] = {}
    with call.context.store.read() as session:
        for use in spec.datasets:
            if record.kind is RunKind.TEST:
                stored = dataset_rows.dataset(session, use.dataset_id).test_data_path
                folder = call.context.located_path(stored) if stored else None
                parts[use.alias] = sorted(folder.glob("*.parquet")) if folder else []
                continue
            version = dataset_rows.version(session, use.dataset_id, version_read(use, record))
            manifests[use.alias] = version.envelope.decode()
            home = call.context.located_path(version.storage)
            parts[use.alias] = [home / part.name for part in claimed_manifest(version.envelope).parts]
    return manifests, parts


class _NoAttester:
    """Stands where test runs have no attestation."""

    kind: Final = TeeKind.SIMULATED

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:  # noqa: ARG002 - refuses all
        """Refuse."""
        raise TrustError("a test run asked for evidence", hint="rebuild the runtime: opaque-jobs runtime build")


def _close(call: _Call, record: RunRecord, folder: Path, final: Path, outcome: SessionOutcome) -> RunOutcome:
    """Close the run by what the session left; a success only with a receipt that holds."""
    if outcome.failure is not None:
        return _close_failed(call, record, folder, final, outcome)
    if record.kind is RunKind.TEST:
        return _close_succeeded(call, folder, final, receipt=None, envelope=None)
    envelope = _read(folder / RECEIPT_FILE)
    if envelope is None:
        return _failed(call, CloseReason.RECEIPT_MISSING)
    try:
        receipt = verify_receipt(
            envelope,
            spec_bytes=record.spec,
            bundle_bytes=record.bundle or b"",
            inputs=record.inputs,
            refreshed=_refreshed(call, record),
            folder=folder,
            trust=own_trust(call.context.settings),
            run_id=record.id,
        )
    except OpaqueJobsError:
        return _failed(call, CloseReason.RECEIPT_REFUSED)
    return _close_succeeded(call, folder, final, receipt=receipt, envelope=envelope)


def _refreshed(call: _Call, record: RunRecord) -> dict[str, str]:
    with call.context.store.read() as session:
        return refreshed_envelopes(session, parse_job_spec(record.spec), record)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _close_succeeded(call: _Call, folder: Path, final: Path, *, receipt: Receipt | None, envelope: bytes | None) -> RunOutcome:
    def record_it(rename: Callable[[], None]) -> None:
        with call.context.store.write() as session:
            close_run(
                call.context,
                session,
                rows.run(session, call.run_id),
                RunEvent.SUCCEED,
                actor=None,
                now=call.context.now(),
                receipt=envelope,
                trust_label=receipt.trust_label if receipt else None,
            )
            rename()

    try:
        publish(folder, final, record=record_it)
    except ConflictError:
        return _ended(call)
    return _ended(call)


def _close_failed(call: _Call, record: RunRecord, folder: Path, final: Path, outcome: SessionOutcome) -> RunOutcome:
    """Publish the sealed log, and nothing else, of a run whose author's code failed."""
    reason = _CLOSE_REASONS[outcome.failure or FailureWord.INTERNAL]

    def record_it(rename: Callable[[], None]) -> None:
        with call.context.store.write() as session:
            close_run(
                call.context,
                session,
                rows.run(session, call.run_id),
                RunEvent.FAIL,
                actor=None,
                now=call.context.now(),
                reason=reason,
                reasons=sorted(set(outcome.reasons)),
            )
            rename()

    if keep_only(folder, {log_file(_mode(record))}):
        with suppress(ConflictError):
            publish(folder, final, record=record_it)
        return _ended(call)
    return _failed(call, reason, reasons=outcome.reasons)


def _failed(call: _Call, reason: CloseReason, *, reasons: Sequence[str] = (), retryable: bool = False) -> RunOutcome:
    """Close the run as failed, unless somebody closed it before."""
    with suppress(ConflictError):
        call.services.runs.fail(call.run_id, reason=reason.value, reasons=reasons)
    return _ended(call, retryable=retryable)


def _ended(call: _Call, *, retryable: bool = False) -> RunOutcome:
    record = _record(call)
    return RunOutcome(
        run_id=record.id,
        state=record.state,
        reason=record.reason.value if record.reason else None,
        reasons=tuple(record.reasons),
        retryable=retryable and record.reason in _AGAIN,
    )
