"""One run, from the first message to the last: the order of things, and which word each failure gets."""

import functools
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

from opaque_jobs.crypto.custody import KeyRelease
from opaque_jobs.domain.job import Language
from opaque_jobs.enclave.agent.admission import Admission, AdmissionError, admit
from opaque_jobs.enclave.agent.attestation import Attested, Brokers
from opaque_jobs.enclave.agent.author import RESULT_VIEW, AuthorProcess, gate_socket
from opaque_jobs.enclave.agent.datasets import define_real, define_test, give_keys
from opaque_jobs.enclave.agent.engine import SESSION_ID, USER_ID, Engine, EngineError, EngineSettings
from opaque_jobs.enclave.agent.gate import Gate
from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.guard import clear_output
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.outbox import Outbox
from opaque_jobs.enclave.agent.output import WrittenResult, beside_result, beyond_bytes, send_result, write_result
from opaque_jobs.enclave.agent.parts import check_parts
from opaque_jobs.enclave.agent.places import DATA
from opaque_jobs.enclave.agent.receipt import signed_receipt
from opaque_jobs.enclave.agent.result_names import ApprovedNames, names_in
from opaque_jobs.enclave.agent.run_log import RunLog
from opaque_jobs.enclave.agent.sql_job import SqlFailedError, literal, run_sql
from opaque_jobs.enclave.agent.sql_rules import Names, RefusedError
from opaque_jobs.enclave.agent.wire import Wire
from opaque_jobs.errors import DeniedError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.enclave import FailureWord, Mode, Start, StatusWord
from opaque_jobs.protocol.result_files import (
    KEY_FILE,
    PREVIEW_FILE,
    RECEIPT_FILE,
    TEST_PREVIEW_FILE,
    Content,
    log_file,
    seal_info,
    sealed_file,
)

__all__ = ["Run"]

_DATA_CAUSES: Final = ("org.apache.parquet.crypto.", "opaquejobs.")
_TOO_LARGE: Final = "opaquejobs.RunFiles$ResultTooLarge"
_WRITE_REFUSED: Final = "opaquejobs.RunFiles$WriteRefused"
_MEMORY_CAUSES: Final = ("java.lang.OutOfMemoryError", "org.apache.spark.memory.SparkOutOfMemoryError")


class AuthorError(Exception):
    """The author's code failed; the log says how."""


class Run:
    """The agent's one run.

    Args:
        wire: To the host.
        start: What the host started.
    """

    def __init__(self, wire: Wire, start: Start) -> None:
        self._wire = wire
        self._start = start
        self._began = datetime.now(UTC)
        self._log = RunLog(verbose=start.mode == Mode.TEST)
        self._outbox = Outbox()
        self._result_key = secrets.token_bytes(32)
        self._attested: Attested | None = None

    def carry_out(self) -> tuple[FailureWord | None, tuple[str, ...]]:
        """Run to the end; give the failure's word (None on success) and a broker's reasons."""
        try:
            admission = admit(self._start)
        except AdmissionError as error:
            return error.word, error.reasons
        self._wire.limit(admission.spec.limits.timeout_s)
        if admission.mode is Mode.REAL:
            self._log = RunLog(verbose=False, policy=admission.spec.output_policy)
        try:
            self._run(admission)
        except AuthorError:
            return self._failed(admission, FailureWord.AUTHOR_ERROR)
        except DeniedError as error:
            limit = error.facts.get("limit")
            self._log.note(f"refused: {error.message}" + (f" ({limit})" if limit else ""))
            return self._failed(admission, FailureWord.OUTPUT_REFUSED)
        except AdmissionError as error:
            clear_output()
            return error.word, error.reasons
        except (OpaqueJobsError, EngineError, OSError):
            clear_output()
            return FailureWord.ENGINE_FAILED, ()
        return None, ()

    def _run(self, admission: Admission) -> None:
        self._wire.status(StatusWord.MEASURING)
        write_udf_launcher()
        # Not waited for when a check fails meanwhile: the end of the agent ends whatever is still starting.
        pool = ThreadPoolExecutor(max_workers=2)
        starting = pool.submit(self._start_engine, admission)
        author = self._start_author(admission)
        releases = self._releases(admission, pool) if admission.mode is Mode.REAL else {}
        self._wire.status(StatusWord.STARTING_ENGINE)
        engine = starting.result()
        self._prepare(engine, admission, releases)
        self._wire.status(StatusWord.COMPUTING)
        frame = self._compute(engine, admission, author)
        try:
            frame = self._named(engine, frame, admission)
            policy, key = admission.spec.output_policy, self._key(admission)
            written = write_result(engine, frame, policy, run_id=admission.run_id, key=key)
        except EngineError as error:
            raise self._judged(error, admission) from None
        self._wire.status(StatusWord.SEALING)
        self._log.note("done")
        self._leave(admission, written)

    def _start_engine(self, admission: Admission) -> Engine:
        settings = EngineSettings(
            heap_bytes=self._start.heap_bytes, cores=self._start.cores, conf=dict(admission.spec.spark_conf)
        )  # fmt: skip
        return Engine.start(settings, output=self._log.pipe())

    def _releases(self, admission: Admission, pool: ThreadPoolExecutor) -> Mapping[str, KeyRelease]:
        """Check the files while keys are asked for; no key is used before both are done."""
        checking: Future[None] = pool.submit(check_parts, admission.manifests)
        self._wire.status(StatusWord.ATTESTING)
        brokers = Brokers(self._wire, admission)
        self._attested = brokers.attested
        releases = brokers.release_all()
        try:
            checking.result()
        except TrustError:
            raise AdmissionError(FailureWord.DATA_REFUSED) from None
        return releases

    def _prepare(self, engine: Engine, admission: Admission, releases: Mapping[str, KeyRelease]) -> None:
        """Give the engine its keys, close the table, and define the data sets."""
        real = admission.mode is Mode.REAL
        if real:
            for use in admission.uses:
                give_keys(engine, use, admission.manifests[use.alias], releases[use.alias])
        else:
            engine.allow_plaintext(DATA)
        max_bytes = admission.spec.output_policy.max_bytes
        engine.set_result(run_id=admission.run_id, key=self._key(admission), max_bytes=max_bytes)
        engine.freeze_keys()
        try:
            for use in admission.uses:
                if real:
                    define_real(engine, use, admission.manifests[use.alias], releases[use.alias])
                else:
                    define_test(engine, use)
            for name, alias in admission.dataset_inputs.items():
                if name.lower() not in {each.lower() for each in admission.spec.aliases}:
                    engine.alias(name, alias)
        except (EngineError, TrustError):
            raise AdmissionError(FailureWord.DATA_REFUSED) from None

    def _key(self, admission: Admission) -> bytes | None:
        return self._result_key if admission.mode is Mode.REAL else None

    def _start_author(self, admission: Admission) -> AuthorProcess | None:
        """Start the author's Python early: it loads its libraries while the engine starts, then waits for the gate."""
        if admission.spec.code.language is Language.SQL:
            return None
        return AuthorProcess(
            admission.spec.code.text,
            datasets=(*admission.spec.aliases, *admission.dataset_inputs),
            params=admission.inputs,
            datetimes=admission.datetimes,
            log=self._log,
        )

    def _compute(self, engine: Engine, admission: Admission, author: AuthorProcess | None) -> Any:
        names = Names((*admission.spec.aliases, *admission.dataset_inputs))
        if author is None:
            return self._compute_sql(engine, admission, names)

        def parse(text: str, statement: bool) -> Any:
            try:
                return engine.outline(text, statement)
            except EngineError as error:
                raise RefusedError(error.message) from None

        cached = functools.lru_cache(maxsize=64)(parse)
        rules = Rules(names, cached, session_id=SESSION_ID, user_id=USER_ID)
        gate = Gate(
            socket_path=gate_socket(), engine_port=engine.port, token=engine.token, rules=rules, show_details=self._log.verbose
        )
        report = author.report()
        self._log.settle()
        if report.error:
            code = admission.spec.code.text
            self._log.author_error(error=report.error, condition=report.condition, line=report.line, code=code)
            raise AuthorError
        try:
            return engine.view(RESULT_VIEW)
        except EngineError:
            self._log.note("the code gave no result")
            raise AuthorError from None
        finally:
            gate.close()

    def _named(self, engine: Engine, frame: Any, admission: Admission) -> Any:
        """Take out of a result's names what members did not see."""
        seen = {name for use in admission.uses for name in names_in(engine.frame_schema(engine.view(use.alias)))}
        schema = engine.frame_schema(frame)
        code = admission.spec.code
        shaped = ApprovedNames(code.text, seen, settled=code.language is Language.SQL).shaped(schema)
        if shaped == schema:
            return frame
        if list(names_in(shaped)) != list(names_in(schema)):
            self._log.note("columns that neither the code nor a data set names are called by their place: name them in the code")
        return engine.shaped(frame, shaped)

    def _compute_sql(self, engine: Engine, admission: Admission, names: Names) -> Any:
        literals = {each.name: literal(each.type, admission.inputs[each.name]) for each in admission.spec.inputs}
        try:
            return run_sql(engine, admission.spec.code.text, names=names, literals=literals)
        except SqlFailedError as error:
            cause = error.cause
            if isinstance(cause, EngineError):
                raise self._judged(cause, admission, line=error.line) from None
            message = str(cause) if isinstance(cause, RefusedError) else ""
            self._log.author_error(
                error="AnalysisException", condition="", line=error.line, code=admission.spec.code.text, message=message
            )  # fmt: skip
            if message and not self._log.verbose:
                self._log.note(message)
            raise AuthorError from None

    def _judged(self, error: EngineError, admission: Admission, *, line: int = 0) -> Exception:
        """Tell whose fault an engine's failure is: the data's, the memory's, or else the author's code's."""
        causes = error.causes
        if _TOO_LARGE in causes:
            return beyond_bytes(admission.spec.output_policy)
        if _WRITE_REFUSED in causes:
            return beside_result()
        if any(cause.startswith(_DATA_CAUSES) for cause in causes):
            return AdmissionError(FailureWord.DATA_REFUSED)
        if error.out_of_space or any(cause in _MEMORY_CAUSES for cause in causes):
            return AdmissionError(FailureWord.RESOURCE_LIMIT)
        self._log.author_error(
            error=causes[0].rpartition(".")[2], condition=error.condition, line=line, code=admission.spec.code.text,
            message=error.message if self._log.verbose else "",
        )  # fmt: skip
        return AuthorError()

    def _failed(self, admission: Admission, word: FailureWord) -> tuple[FailureWord, tuple[str, ...]]:
        """Leave the log, and nothing else."""
        clear_output()
        self._outbox = Outbox()
        self._leave_log(admission)
        return word, ()

    def _leave_log(self, admission: Admission) -> None:
        self._send(admission, log_file(admission.mode), Content.LOG, self._log.content())

    def _leave(self, admission: Admission, written: WrittenResult) -> None:
        """Send out everything that goes with the result; the receipt last, over all of it."""
        send_result(self._outbox, written, run_id=admission.run_id, key=self._key(admission))
        self._leave_log(admission)
        if admission.mode is Mode.TEST:
            self._send(admission, TEST_PREVIEW_FILE, Content.PREVIEW, written.preview)
            return
        self._send(admission, KEY_FILE, Content.RESULT_KEY, self._result_key)
        self._send(admission, PREVIEW_FILE, Content.PREVIEW, written.preview)
        assert self._attested is not None  # noqa: S101 - set on the way here in every real run
        receipt = signed_receipt(admission, self._attested, outputs=self._outbox.files, began=self._began)
        self._outbox.put(RECEIPT_FILE, [receipt])

    def _send(self, admission: Admission, name: str, content: Content, plaintext: bytes) -> None:
        """Send out one file, sealed to the recipients; in test runs as it is."""
        if admission.mode is Mode.TEST:
            self._outbox.put(name, [plaintext])
            return
        info = seal_info(
            content, workspace_id=admission.spec.workspace_id, job_digest=admission.job_digest, run_id=admission.run_id
        )  # fmt: skip
        self._outbox.put(name, [sealed_file(plaintext, admission.recipients, info)])


def main() -> None:
    """Carry out the run that the host starts, and end."""
    os.umask(0o077)
    wire = Wire()
    start = wire.begin()
    try:
        failure, reasons = Run(wire, start).carry_out()
    except Exception:  # noqa: BLE001 - nothing about it may reach the host
        clear_output()
        failure, reasons = FailureWord.INTERNAL, ()
    if failure is None:
        wire.status(StatusWord.DONE)
    wire.finish(failure, reasons)
