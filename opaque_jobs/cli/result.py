"""`opaque-jobs result`: what a run gave, opened with the organisation's key on this machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.export import Format, check_free, export, plain_value
from opaque_jobs.cli.output import escape, print_json, print_record, stderr, stdout, trust_text
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.running import check_has_result, check_over, has_log
from opaque_jobs.cli.session import Acting, acting_session, open_sealing_key
from opaque_jobs.client.results import OpenedResult, open_log, open_real_result, open_test_result, read_test_log, sealed_to
from opaque_jobs.client.session import Session
from opaque_jobs.client.verified_runs import verified_run
from opaque_jobs.client.visible import visible
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.run import RunKind
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import RunView

__all__ = ["app", "open_result", "result_table"]

app = Noun(help="Results: sealed to the author's organisation, opened here and nowhere else.")

Run = Annotated[str, typer.Argument(help="Run id.")]


@contextmanager
def open_result(
    session: Session, run: RunView, actor: MemberEntry, passphrase_file: Path | None
) -> Iterator[tuple[RunView, OpenedResult]]:
    """Open a run's result for a member; a real run's only after its receipt was verified, with the files.

    Yields:
        The run, as far as proved by its receipt (a test run has none), and the result.

    Raises:
        DeniedError: The member is not of the author's organisation.
        ConflictError: The run has not succeeded.
        TrustError: The receipt does not hold, or the result does not open with the organisation's key.
    """
    check_has_result(session, run)
    if run.kind is RunKind.TEST:
        with session.files.run_files(run.id) as folder:
            yield replace(run, trust_label=None), open_test_result(folder)
        return
    with verified_run(session, run, actor) as proved:
        key = _sealing_key(session, actor, proved.folder, passphrase_file)
        yield proved.run, open_real_result(proved.run, proved.folder, key, workspace_id=proved.receipt.workspace_id)


def _read_log(session: Session, run: RunView, actor: MemberEntry, passphrase_file: Path | None) -> tuple[bool, str]:
    """Give a run's log, and whether a receipt vouches for it: a run that failed has none, but its log says why.

    Raises:
        ConflictError: The run is not over, or ended before there was a log.
    """
    if run.state is not RunState.SUCCEEDED and not has_log(session, run):
        check_over(run)
        raise ConflictError("the run ended before there was a log", hint=f"see 'opaque-jobs run show {run.id}'", run_id=run.id)
    if run.kind is RunKind.TEST:
        with session.files.run_files(run.id) as folder:
            return False, read_test_log(run, folder)
    if run.state is RunState.SUCCEEDED:
        with verified_run(session, run, actor) as proved:
            key = _sealing_key(session, actor, proved.folder, passphrase_file)
            return True, open_log(proved.run, proved.folder, key, workspace_id=proved.receipt.workspace_id)
    workspace_id = session.jobs.show(run.job_id).workspace_id
    with session.files.run_files(run.id) as folder:
        key = _sealing_key(session, actor, folder, passphrase_file)
        return False, open_log(run, folder, key, workspace_id=workspace_id)


def _sealing_key(session: Session, actor: MemberEntry, folder: Path, passphrase_file: Path | None) -> SealingKey:
    owner = session.people.organisations(organisation_id=(actor.organisation_id,)).items[0].entry
    return open_sealing_key(session.settings, owner.name, passphrase_file, recipients=sealed_to(folder))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else visible(str(plain_value(value)))


def result_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out rows for the terminal."""
    table = Table(header_style="bold")
    for name in columns:
        table.add_column(escape(name), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    return table


@app.command("show")
def show(
    *,
    run_id: Run,
    rows: Annotated[int, typer.Option(min=1, help="Most rows to show.")] = 50,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show the first rows of a result.

    Example: opaque-jobs result show run-0123 --as alice
    """
    with (
        acting_session(acting, passphrase_file) as (session, actor),
        open_result(session, session.runs.show(run_id), actor, passphrase_file) as (run, result),
    ):
        found = result.first(rows)
    if common().json:
        label = run.trust_label.value if run.trust_label else None
        print_json({"run_id": run.id, "kind": run.kind.value, "trust_label": label, "rows": plain_value(found)})
        return
    stdout().print(result_table(result.schema.names, found))
    if run.trust_label:
        stderr().print(f"trust: {trust_text(run.trust_label.value)}")
    if run.kind is RunKind.TEST:
        stderr().print("[bold]test run[/]: made from test data, no real data was touched")


@app.command("export")
def export_(
    *,
    run_id: Run,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write; must not exist.")],
    how: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.PARQUET,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write a result as Parquet, CSV, Arrow or JSON lines. [bold]The file is not encrypted[/].

    Example: opaque-jobs result export run-0123 --to result.csv --format csv
    """
    with acting_session(acting, passphrase_file) as (session, actor):
        run = session.runs.show(run_id)
        check_free(to)
        with open_result(session, run, actor, passphrase_file) as (_, result):
            written = export(result, to, how)
    print_record({"run_id": run.id, "file": str(to), "format": how.value, "rows": written}, as_json=common().json)


@app.command("log")
def log(*, run_id: Run, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Show what the job printed, and its traceback if it failed. Sealed like the result."""
    with acting_session(acting, passphrase_file) as (session, actor):
        run = session.runs.show(run_id)
        proved, text = _read_log(session, run, actor, passphrase_file)
    if common().json:
        print_json({"run_id": run.id, "kind": run.kind.value, "proved": proved, "log": text})
        return
    typer.echo(visible(text))
    if run.kind is RunKind.REAL and not proved:
        stderr().print("[yellow]no receipt vouches for this log[/]: only runs that succeed have one")
