"""Runs as the command line starts and follows them: tests here and now, real runs through Airflow's REST."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.client.results import read_test_log
from opaque_jobs.client.session import Session, listed
from opaque_jobs.domain.lifecycle import RUN, RunState
from opaque_jobs.domain.reasons import in_words
from opaque_jobs.domain.run import RunKind
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, NotFoundError, SandboxError
from opaque_jobs.protocol.result_files import LOG_FILE, TEST_LOG_FILE
from opaque_jobs.protocol.views import RunView
from opaque_jobs.runner.execution import execute_test
from opaque_jobs.services import Services
from opaque_jobs.standalone.launcher import running_address
from opaque_jobs.store.words import CloseReason

__all__ = [
    "airflow_for",
    "check_has_result",
    "check_over",
    "check_succeeded",
    "failed_test_log",
    "find_run",
    "has_log",
    "run_test",
    "wait_for_run",
]

_POLL_S: Final = 0.3
_SANDBOX_REASONS: Final = (CloseReason.SANDBOX_UNAVAILABLE, CloseReason.SANDBOX_ENDED)
_HINTS: Final[dict[str | None, str]] = {
    CloseReason.DATA_REFUSED: "the data set's owner checks its files with 'opaque-jobs dataset verify'",
    CloseReason.BROKER_UNREACHABLE: "every owner's key broker must answer: see 'opaque-jobs broker show'",
}
"""Where the author's code cannot have logged anything."""


def run_test(
    opened: Services,
    actor: MemberEntry,
    job_id: str,
    values: Mapping[str, Any],
    *,
    on_status: Callable[[str], None] = lambda _word: None,
) -> RunView:
    """Run a job on test data in the sandbox, here and now.

    Raises:
        ConflictError: A data set has no test data, or the job is in no state for a test.
        SandboxError: The sandbox cannot be started.
    """
    run = opened.runs.start_test(actor=actor.id, job_id=job_id, inputs=values)
    limits = opened.jobs.show(job_id, actor=actor.id).draft.limits
    execute_test(
        opened,
        run.id,
        cores=min(limits.cores, os.cpu_count() or 1),
        memory_bytes=limits.memory_bytes,
        on_status=on_status,
    )
    return opened.runs.show(run.id, actor=actor.id)


def check_succeeded(session: Session, run: RunView) -> None:
    """Make the exit code tell how a run ended.

    Raises:
        SandboxError: The sandbox failed; another attempt may succeed.
        ConflictError: The run failed or was cancelled for another reason.
    """
    if run.state is RunState.SUCCEEDED:
        return
    facts = {"run_id": run.id, "reason": run.reason}
    if run.reason in _SANDBOX_REASONS:
        raise SandboxError(_ending(run), hint="find out why with 'opaque-jobs doctor'", **facts)
    raise ConflictError(_ending(run), hint=_where_to_look(session, run), **facts)


def check_has_result(session: Session, run: RunView) -> None:
    """Check that a run is over and has a result, for a member who may read it.

    Raises:
        ConflictError: It has none; the message says how it ended.
        DeniedError: The member is not of the author's organisation.
    """
    if run.state is RunState.SUCCEEDED:
        return
    has_log(session, run)  # who may not read it is told that, and no more
    check_over(run)
    hint = _where_to_look(session, run)
    raise ConflictError(f"there is no result: {_ending(run)}", hint=hint, run_id=run.id, reason=run.reason)


def check_over(run: RunView) -> None:
    """Check that a run is over: before that it has left nothing.

    Raises:
        ConflictError: It is not.
    """
    if not RUN.terminal(run.state):
        raise ConflictError(
            f"the run is {run.state.value}, not over yet", hint=f"wait with 'opaque-jobs run wait {run.id}'", run_id=run.id
        )


def has_log(session: Session, run: RunView) -> bool:
    """Tell whether a run has left a log.

    Raises:
        DeniedError: The member is not of the author's organisation.
    """
    try:
        found = session.runs.files(run.id)
    except ConflictError:
        return False
    return any(each.name in (LOG_FILE, TEST_LOG_FILE) for each in found)


def failed_test_log(session: Session, run: RunView) -> str | None:
    """Return what a failed test run says of itself, for a member who may read it; None if it left nothing."""
    with contextlib.suppress(ConflictError, DeniedError, NotFoundError), session.files.run_files(run.id) as folder:
        return read_test_log(run, folder)
    return None


def _ending(run: RunView) -> str:
    why = "; ".join([run.reason or "no reason given", *(in_words(each) for each in run.reasons)])
    if run.state is not RunState.CANCELLED:
        return f"the run {run.state.value}: {why}"
    return "the run was cancelled" if run.reason == CloseReason.CANCELLED else f"the run was cancelled: {why}"


def _where_to_look(session: Session, run: RunView) -> str:
    hints = [_HINTS[run.reason]] if run.reason in _HINTS else []
    with contextlib.suppress(DeniedError):
        if has_log(session, run):
            hints.append(f"see 'opaque-jobs result log {run.id}'")
    return "; ".join(hints) or f"see 'opaque-jobs run show {run.id}'"


def airflow_for(opened: Services, member: MemberEntry) -> AirflowRest:
    """Log in to this home's Airflow as a member.

    Raises:
        ConfigurationError: It does not run.
        NotFoundError: The member has no log-in there.
    """
    settings = opened.context.settings
    address = running_address(settings)
    if address is None:
        raise ConfigurationError("the Airflow of this home does not run", hint="start it with 'opaque-jobs up'")
    return AirflowRest.as_login(settings, address, member.name)


def find_run(session: Session, *, job_id: str, dag_run_id: str, timeout_s: float = 60.0) -> RunView:
    """Give the run that belongs to a DAG run; the gate's task records it within seconds.

    Raises:
        ConflictError: It is not there in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for run in listed(session.runs.history, job_id):
            if run.kind is RunKind.REAL and run.dag_run_id == dag_run_id:
                return run
        time.sleep(_POLL_S)
    raise ConflictError("Airflow has not begun the run", hint="look at the DAG run in Airflow", dag_run=dag_run_id)


def wait_for_run(
    session: Session,
    run_id: str,
    *,
    timeout_s: float,
    on_status: Callable[[str], None] = lambda _word: None,
) -> RunView:
    """Wait until a run is closed.

    Raises:
        ConflictError: It is not, in time.
    """
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        run = session.runs.show(run_id)
        word = run.progress if run.state is RunState.RUNNING and run.progress else run.state.value
        if word != said:
            said = word
            on_status(word)
        if RUN.terminal(run.state):
            return run
        if time.monotonic() > deadline:
            raise ConflictError("the run is not over yet", hint=f"wait on with 'opaque-jobs run wait {run_id}'", run_id=run_id)
        time.sleep(_POLL_S)
