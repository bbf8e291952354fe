"""Runs: who may start one, and what state it is in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from opaque_jobs.crypto.log_proof import log_refusals
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import TestDataKind
from opaque_jobs.domain.ids import new_id
from opaque_jobs.domain.job import DatasetUse, JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import RUN, JobStatus, RunEvent, RunState
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.roles import Action
from opaque_jobs.domain.run import RunKind, Trigger, inputs_digest
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, OpaqueJobsError
from opaque_jobs.protocol.views import ClosedRun, LeaseView, ReceiptContext, RunView
from opaque_jobs.services import log_book
from opaque_jobs.services.access import access_to_job, require, roster_in_force
from opaque_jobs.services.closing import close_run
from opaque_jobs.services.consent_rules import bundle_of, stands
from opaque_jobs.services.context import Context, listed_files
from opaque_jobs.services.deployments import gate_words
from opaque_jobs.services.jobs import spec_of_draft
from opaque_jobs.services.leases import lease_of
from opaque_jobs.services.reconciling import close_abandoned, close_lost
from opaque_jobs.services.refreshes import check_news, newer_versions, refreshed_envelopes, version_read
from opaque_jobs.services.run_rules import check_lease, check_runner, checked_inputs
from opaque_jobs.store import datasets as dataset_rows
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import runs as rows
from opaque_jobs.store.gate import revision_key
from opaque_jobs.store.records import RunRecord
from opaque_jobs.store.words import CloseReason, GateWord

__all__ = ["CONSENT_NOT_PROVED", "Runs"]

CONSENT_NOT_PROVED: Final = "consent-not-proved"


class Runs:
    """Use cases about runs. Every change is a compare-and-set; a closed run stays closed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def open(
        self,
        *,
        job_id: str,
        revision: int,
        dag_run_id: str,
        attempt: int,
        actor: str | None,
        trigger: Trigger,
        inputs: Mapping[str, Any],
    ) -> RunView:
        """Make a queued run; the same (job, DAG run, attempt) gives the same run again.

        Args:
            job_id: The job.
            revision: A revision under review or accepted.
            dag_run_id: Airflow's name of the DAG run.
            attempt: 1, 2, ...
            actor: The member who asked; None for a schedule, backfill or asset event.
            trigger: How it came about.
            inputs: Given values, by name; defaults are filled in.

        Raises:
            DeniedError: The run policy does not name the actor, or nobody asked and no schedule was approved.
            InvalidInputError: An unknown or fixed variable, or a value outside its constraints.
            ConflictError: The revision cannot run, its lease is used up, a data set that it follows has other columns now, an
                asset event came without a refresh, or the attempt was opened for another revision.

        A run that the inputs or the lease refuse is recorded as failed, with the reason, before the error is raised.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            known = rows.run_of_attempt(session, job_id, dag_run_id, attempt)
            if known is not None:
                if known.revision != revision:
                    raise ConflictError("this attempt belongs to another revision", hint="trigger a new run", run_id=known.id)
                return _view(known)
            job = job_rows.job(session, job_id)
            submitted = job_rows.revision(session, job_id, revision)
            spec = parse_job_spec(submitted.spec)
            word = gate_words(session, [revision_key(job_id, revision)], now)[revision_key(job_id, revision)]
            roster = roster_in_force(session, job.workspace_id)
            if word not in (GateWord.OPEN, GateWord.WAITING) or roster is None:
                raise ConflictError(
                    "this revision cannot run", hint="see 'opaque-jobs job show' for its status", word=word, revision=revision
                )
            check_runner(spec, roster, actor=actor, trigger=trigger)
            others = rows.runs_of_revisions(session, [(job_id, revision)])
            values, refusal = _admitted(spec, inputs, others, now)
            if refusal is None:
                newer = newer_versions(session, spec)
                if trigger is Trigger.ASSET:
                    check_news(spec, newer, others)
            record = _new_run(
                session,
                spec,
                kind=RunKind.REAL,
                trigger=trigger,
                actor=actor,
                inputs=values,
                dag_run=(dag_run_id, attempt),
                now=now,
            )
            if refusal is not None:
                why, codes = _refusal_words(refusal)
                close_run(self._context, session, record, RunEvent.FAIL, actor=None, now=now, reason=why, reasons=codes)
        if refusal is not None:
            raise refusal
        return _view(record)

    def check_start(self, *, actor: str, job_id: str, revision: int, inputs: Mapping[str, Any]) -> None:
        """Check, before anything is asked of Airflow, that a run that a member starts now would not be refused.

        Raises:
            NotFoundError: No such job, or the actor may not know of it.
            DeniedError, InvalidInputError, ConflictError: As `open` would.
        """
        now = self._context.now()
        with self._context.store.read() as session:
            access = access_to_job(session, job_id, actor)
            spec = parse_job_spec(job_rows.revision(session, job_id, revision).spec)
            check_runner(spec, access.roster, actor=actor, trigger=Trigger.MANUAL)
            _values, refusal = _admitted(spec, inputs, rows.runs_of_revisions(session, [(job_id, revision)]), now)
        if refusal is not None:
            raise refusal

    def lease(self, job_id: str, revision: int, *, actor: str) -> LeaseView:
        """Give what is used and left of a revision's rerun terms to a member of its workspace.

        Raises:
            NotFoundError: No such job or revision, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            access_to_job(session, job_id, actor)
            record = job_rows.revision(session, job_id, revision)
            accepted = record.status is JobStatus.ACCEPTED
            return lease_of(session, parse_job_spec(record.spec), accepted=accepted, now=self._context.now())

    def start(self, run_id: str, *, lease_s: int = 60) -> RunView:
        """Begin a queued run whose gate is open; it is abandoned if the lease is not renewed in time.

        Which version it reads of the data sets that the job follows is settled here: the newest.

        Raises:
            ConflictError: Not queued, the gate is not open, or the lease is used up (`facts["word"]` says why); or a data set
                that the job follows has other columns now.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            record = rows.run(session, run_id)
            newer: dict[str, int] = {}
            if record.kind is RunKind.REAL and record.state is RunState.QUEUED:
                word = gate_words(session, [run_id], now)[run_id]
                if word != GateWord.OPEN:
                    raise ConflictError("the gate of this run is not open", hint="see 'opaque-jobs job show'", word=word)
                if not stands(session, job_rows.revision(session, record.job_id, record.revision)):
                    raise ConflictError(
                        "the stored signatures do not prove that every member consents",
                        hint="was the database changed? brokers refuse this run",
                        word=CONSENT_NOT_PROVED,
                    )
                others = rows.runs_of_revisions(session, [(record.job_id, record.revision)])
                spec = parse_job_spec(record.spec)
                check_lease(spec, others, now=now)
                newer = newer_versions(session, spec)
            until = now + timedelta(seconds=lease_s)
            rows.apply_event(
                session,
                record,
                RunEvent.START,
                actor=record.actor,
                now=now,
                lease_until=until,
                bundle=self._logged_bundle(session, record, now) if record.kind is RunKind.REAL else None,
                refreshed=newer,
            )
            return _view(rows.run(session, run_id))

    def _logged_bundle(self, session: Session, record: RunRecord, now: datetime) -> bytes:
        """Enter the run into the log, and give what proves that everybody consents and that all of it is in the log."""
        workspace_id = parse_job_spec(record.spec).workspace_id
        values = inputs_digest(record.inputs)
        log_book.append(
            self._context,
            session,
            workspace_id,
            EntryKind.RUN,
            record.id,
            now=now,
            actor=record.actor,
            trigger=record.trigger.value,
            job_digest=record.job_digest,
            inputs_digest=values,
        )
        bundle = bundle_of(session, job_rows.revision(session, record.job_id, record.revision))
        statements = {
            EntryKind.ROSTER: [bundle.member_list.digest],
            EntryKind.ACCEPTANCE: [digest(each.encode()) for each in bundle.acceptances],
            EntryKind.VOTE: [digest(each.encode()) for each in bundle.approvals],
        }
        proof = log_book.prove(self._context, session, workspace_id, statements=statements, run_id=record.id)
        logged = replace(bundle, log=proof)
        reasons = log_refusals(logged, run_id=record.id, job_digest=record.job_digest, inputs_digest=values)
        if reasons:
            raise ConflictError(
                "the log does not hold what every member signed",
                hint="was the database changed? brokers refuse this run",
                word=CONSENT_NOT_PROVED,
            )
        return logged.to_bytes()

    def renew_lease(self, run_id: str, *, lease_s: int = 60, progress: str | None = None) -> bool:
        """Prolong the lease; False if the run is closed, and then the enclave must end."""
        now = self._context.now()
        with self._context.store.write() as session:
            record = rows.run(session, run_id)
            if record.state is not RunState.RUNNING:
                return False
            until = now + timedelta(seconds=lease_s)
            rows.set_lease(session, run_id, until=until, progress=progress or record.progress)
            return True

    def note_key_request(self, run_id: str) -> None:
        """Record that keys may be released from now on, so that the run counts towards the rerun terms.

        Raises:
            ConflictError: The run is not running: the request must not leave.
        """
        now = self._context.now()
        with self._context.store.write() as session:
            record = rows.run(session, run_id)
            rows.set_lease(session, run_id, until=record.lease_until, keys_asked_at=record.keys_asked_at or now)

    def close_if_lost(self, run_id: str) -> RunView:
        """Close a running run whose lease is over as `worker-lost`; give the run, closed or not."""
        close_lost(self._context, run_id)
        with self._context.store.read() as session:
            return _view(rows.run(session, run_id))

    def is_open(self, run_id: str) -> bool:
        """Tell whether the run is queued or running still."""
        with self._context.store.read() as session:
            return not RUN.terminal(rows.run(session, run_id).state)

    def fail(self, run_id: str, *, reason: str, reasons: Sequence[str] = ()) -> RunView:
        """Close an open run as failed. Success comes from `execution.execute` alone, with its receipt.

        Args:
            run_id: The run.
            reason: A word of `store.words.CloseReason`.
            reasons: A broker's refusal codes.

        Raises:
            ConflictError: It is closed already.
            InvalidInputError: Not a known word.
        """
        if reason not in tuple(CloseReason):
            raise InvalidInputError("not a known reason for a failure", hint="use a word of CloseReason")
        with self._context.store.write() as session:
            record = rows.run(session, run_id)
            close_run(
                self._context,
                session,
                record,
                RunEvent.FAIL,
                actor=None,
                now=self._context.now(),
                reason=CloseReason(reason),
                reasons=sorted(set(reasons)),
            )
            return _view(rows.run(session, run_id))

    def cancel(self, run_id: str, *, actor: str) -> RunView:
        """Cancel a queued or running run.

        Raises:
            DeniedError: The actor may not run this job.
            ConflictError: It is closed already.
        """
        with self._context.store.write() as session:
            record = rows.run(session, run_id)
            access = access_to_job(session, record.job_id, actor)
            spec = parse_job_spec(record.spec)
            if record.kind is RunKind.TEST:
                if actor not in (record.actor, spec.author_id):
                    require(access.role, Action.EDIT)
            else:
                check_runner(spec, access.roster, actor=actor, trigger=Trigger.MANUAL)
            close_run(
                self._context,
                session,
                record,
                RunEvent.CANCEL,
                actor=actor,
                now=self._context.now(),
                reason=CloseReason.CANCELLED,
            )
            return _view(rows.run(session, run_id))

    def show(self, run_id: str, *, actor: str) -> RunView:
        """Give a run to a member of its workspace.

        Raises:
            NotFoundError: None, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            record = rows.run(session, run_id)
            access_to_job(session, record.job_id, actor)
            return _view(record)

    def history(self, job_id: str, *, actor: str) -> list[RunView]:
        """Give a job's runs, newest first.

        Raises:
            NotFoundError: No such job, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            access_to_job(session, job_id, actor)
            return [_view(record) for record in rows.runs_of_job(session, job_id)]

    def result_folder(self, run_id: str, *, actor: str) -> Path:
        """Give the folder of the sealed result (real) or of the test result (test); of a failed run, with its log only.

        Raises:
            DeniedError: A real run, and the actor is not of the author's organisation.
            ConflictError: The run has left nothing.
        """
        with self._context.store.read() as session:
            record = rows.run(session, run_id)
            access = access_to_job(session, record.job_id, actor)
            if record.kind is RunKind.REAL:
                require(access.role, Action.READ_RESULT)
        settings = self._context.settings
        folder = settings.result_dir(run_id) if record.kind is RunKind.REAL else settings.test_dir(run_id)
        if not RUN.terminal(record.state) or not folder.is_dir():
            raise ConflictError("the run has left no result", hint="see 'opaque-jobs run show'", state=record.state.value)
        return folder

    def receipt(self, run_id: str, *, actor: str) -> ReceiptContext:
        """Give a succeeded run's receipt with all that is needed to verify it, to any member of the workspace.

        Raises:
            ConflictError: There is no receipt.
        """
        with self._context.store.read() as session:
            record = rows.run(session, run_id)
            access_to_job(session, record.job_id, actor, Action.VERIFY_RECEIPT)
            if record.state is not RunState.SUCCEEDED or record.receipt is None or record.bundle is None:
                raise ConflictError("the run has no receipt", hint="only real runs that succeeded have one")
            return ReceiptContext(
                run_id=run_id,
                receipt=record.receipt,
                spec_bytes=record.spec,
                bundle_bytes=record.bundle,
                inputs=record.inputs,
                refreshed=refreshed_envelopes(session, parse_job_spec(record.spec), record),
                files=listed_files(self._context.settings.result_dir(run_id)),
            )

    def start_test(self, *, actor: str, job_id: str, inputs: Mapping[str, Any]) -> RunView:
        """Make a queued test run of the draft (author) or of the revision under review (any member); then `execute_test`.

        Raises:
            ConflictError: The job is in another state, or a data set has no test data.
            DeniedError: The actor may not test it now.
            InvalidInputError: The draft is not complete, or a value is outside its constraints.
        """
        now = self._context.now()
        measurement = self._context.runtime().measurement
        with self._context.store.write() as session:
            access = access_to_job(session, job_id, actor)
            if access.job.status is JobStatus.UNDER_REVIEW:
                require(access.role, Action.TEST_UNDER_REVIEW)
                spec = parse_job_spec(job_rows.revisions(session, job_id)[-1].spec)
            else:
                require(access.role, Action.TEST_DRAFT)
                spec = spec_of_draft(session, access, measurement)
            for use in spec.datasets:
                self._check_test_data(session, use)
            values = checked_inputs(spec, inputs, test=True)
            record = _new_run(
                session, spec, kind=RunKind.TEST, trigger=Trigger.MANUAL, actor=actor, inputs=values, dag_run=None, now=now
            )
            return _view(record)

    def _check_test_data(self, session: Session, use: DatasetUse) -> None:
        data = dataset_rows.dataset(session, use.dataset_id)
        if data.test_data_kind is TestDataKind.NONE or data.test_data_path is None:
            raise ConflictError(
                f"the data set '{use.alias}' has no test data", hint="ask its owner to attach some", alias=use.alias
            )
        if not any(self._context.located_path(data.test_data_path).glob("*.parquet")):
            raise ConfigurationError(
                f"the test data of '{use.alias}' is not in this installation's storage",
                hint="homes that work together share one folder: set OPAQUE_JOBS_STORAGE to it in each",
                alias=use.alias,
            )

    def reconcile(self, airflow_states: Mapping[tuple[str, str], str]) -> list[ClosedRun]:
        """Close real runs that nobody carries on, and tests whose lease is over.

        Args:
            airflow_states: (job id, DAG run id) -> Airflow's DAG run state (`queued`, `running`, `success`, `failed`).

        Returns:
            What was closed: Airflow has ended and the run has not, or its lease is over.
        """
        return close_abandoned(self._context, airflow_states)


def _admitted(
    spec: JobSpec, inputs: Mapping[str, Any], others: Sequence[RunRecord], now: datetime
) -> tuple[dict[str, Any], OpaqueJobsError | None]:
    """Give the effective input values, or why there is no run."""
    try:
        values = checked_inputs(spec, inputs)
        check_lease(spec, others, now=now)
    except (InvalidInputError, ConflictError) as error:
        return {}, error
    return values, None


def _refusal_words(refusal: OpaqueJobsError) -> tuple[CloseReason, list[str]]:
    if isinstance(refusal, InvalidInputError):
        return CloseReason.INPUTS_REFUSED, []
    return CloseReason.LEASE_REFUSED, str(refusal.facts["reasons"]).split(",")


def _new_run(
    session: Session,
    spec: JobSpec,
    *,
    kind: RunKind,
    trigger: Trigger,
    actor: str | None,
    inputs: dict[str, Any],
    dag_run: tuple[str, int] | None,
    now: datetime,
) -> RunRecord:
    run_id = new_id("run")
    name, attempt = dag_run or (run_id, 1)
    record = RunRecord(
        id=run_id,
        job_id=spec.job_id,
        revision=spec.revision,
        number=rows.next_number(session, spec.job_id),
        kind=kind,
        trigger=trigger,
        actor=actor,
        state=RunState.QUEUED,
        reason=None,
        reasons=[],
        progress=None,
        job_digest=spec.digest,
        spec=spec.to_bytes(),
        bundle=None,
        inputs=inputs,
        refreshed={},
        dag_run_id=name,
        attempt=attempt,
        keys_asked_at=None,
        receipt=None,
        trust_label=None,
        lease_until=None,
        version=1,
        created_at=now,
        started_at=None,
        finished_at=None,
    )
    rows.add_run(session, record)
    return record


def _view(record: RunRecord) -> RunView:
    spec = parse_job_spec(record.spec)
    duration = record.finished_at - record.started_at if record.started_at and record.finished_at else None
    return RunView(
        id=record.id,
        job_id=record.job_id,
        revision=record.revision,
        number=record.number,
        kind=record.kind,
        trigger=record.trigger,
        actor=record.actor,
        state=record.state,
        reason=record.reason.value if record.reason else None,
        reasons=tuple(record.reasons),
        progress=record.progress,
        job_digest=record.job_digest,
        inputs=record.inputs,
        dataset_versions={use.dataset_id: version_read(use, record) for use in spec.datasets},
        dag_run_id=record.dag_run_id if record.kind is RunKind.REAL else "",
        attempt=record.attempt,
        trust_label=record.trust_label,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        duration_s=duration.total_seconds() if duration is not None else None,
    )
