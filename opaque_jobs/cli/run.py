"""`opaque-jobs run`: real runs, through Airflow."""

from typing import Annotated, Final

import typer

from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.documents import run_document
from opaque_jobs.cli.inputs import parse_values
from opaque_jobs.cli.output import print_record, print_rows
from opaque_jobs.cli.progress import step
from opaque_jobs.cli.running import airflow_for, check_succeeded, find_run, wait_for_run
from opaque_jobs.cli.session import Acting, acting_member, acting_session, services
from opaque_jobs.client.finding import find_job
from opaque_jobs.client.session import listed
from opaque_jobs.domain.inputs import effective_inputs
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.run import RunKind
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import JobView
from opaque_jobs.standalone.local_session import local_session

__all__ = ["app"]

app = Noun(help="Runs: executions of approved jobs in the enclave, started through Airflow.")

Run = Annotated[str, typer.Argument(help="Run id.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait at most.")]
_AGAIN: Final = {
    JobStatus.REJECTED: "review cancel",
    JobStatus.EXPIRED: "job revise",
    JobStatus.WITHDRAWN: "job revise",
    JobStatus.SUPERSEDED: "job revise",
}
"""Where members' consent is gone: what makes a draft of the job, which asks for it anew."""


def _check_stands(job: JobView) -> None:
    """Check that consent to a job is not gone; a revision that was accepted stands beside a later one that is over."""
    if job.status in _AGAIN and job.accepted_revision is None:
        raise ConflictError(
            f"'{job.draft.name}' is {job.status.value}: it cannot run",
            hint=f"its author can ask again: 'opaque-jobs {_AGAIN[job.status]} {job.id}' makes it a draft",
            job_id=job.id,
        )


@app.command("start")
def start(
    *,
    job: Annotated[str, typer.Argument(help="Job, by id or name.")],
    value: Annotated[list[str], repeatable("--input", "Input value NAME=VALUE. Repeatable.")],
    wait: Annotated[bool, typer.Option(help="Wait until the run is over.")] = True,
    timeout: Timeout = 3600,
    acting: Acting = None,
) -> None:
    """Run a job. While votes are out it waits at the gate; a rerun is the same command again, within the approved terms.

    Example: opaque-jobs run start Rates --input min_patients=20 --as alice
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        session = local_session(opened, actor)
        view = find_job(session, job)
        _check_stands(view)
        values = parse_values(view.draft.inputs, value)
        effective_inputs(view.draft.inputs, values, aliases=[use.alias for use in view.draft.datasets])
        if view.revisions:
            revision = view.accepted_revision or view.revisions[-1].revision
            session.runs.check_start(view.id, revision=revision, inputs=values)
        with step(f"{'running' if wait else 'starting'} '{view.draft.name}'") as shown, airflow_for(opened, actor) as airflow:
            airflow.wait_for_dag(view.id)
            dag_run_id = airflow.trigger(view.id, inputs=values)
            run = find_run(session, job_id=view.id, dag_run_id=dag_run_id)
            if wait:
                run = wait_for_run(session, run.id, timeout_s=timeout, on_status=shown.say)
        print_record(run_document(run), as_json=common().json)
        if wait:
            check_succeeded(session, run)


@app.command("wait")
def wait_(*, run_id: Run, timeout: Timeout = 3600, acting: Acting = None) -> None:
    """Wait until a run is over."""
    with acting_session(acting) as (session, _):
        with step("waiting") as shown:
            run = wait_for_run(session, run_id, timeout_s=timeout, on_status=shown.say)
        print_record(run_document(run), as_json=common().json)
        check_succeeded(session, run)


@app.command("list")
def list_(
    *,
    job: Annotated[str, typer.Argument(help="Job, by id or name.")],
    tests: Annotated[bool, typer.Option(help="Test runs too.")] = True,
    acting: Acting = None,
) -> None:
    """List a job's runs, newest first."""
    with acting_session(acting) as (session, _):
        found = listed(session.runs.history, find_job(session, job).id)
        rows = [run_document(run) for run in found if tests or run.kind is RunKind.REAL]
    columns = ["number", "kind", "state", "reason", "trigger", "inputs", "trust_label", "duration_s", "id"]
    print_rows(
        rows,
        columns,
        as_json=common().json,
        empty="no runs yet: try it with 'opaque-jobs job test', and run it with 'opaque-jobs run start' once it is submitted",
    )


@app.command("show")
def show(*, run_id: Run, acting: Acting = None) -> None:
    """Show a run."""
    with acting_session(acting) as (session, _):
        run = session.runs.show(run_id)
    print_record(run_document(run), as_json=common().json)


@app.command("cancel")
def cancel(*, run_id: Run, acting: Acting = None) -> None:
    """Cancel a run that is queued or running; its enclave ends within seconds."""
    with acting_session(acting) as (session, _):
        run = session.runs.cancel(run_id)
    print_record(run_document(run), as_json=common().json)
