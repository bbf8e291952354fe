"""`opaque-jobs demo`: two organisations, one approved job after the other, on real encrypted data, in a real Airflow.

Everything happens in a fresh home. Whatever ends the demo, its processes end with it, and an unfinished home is removed.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from opaque_jobs.airflow.logins import ADMIN_LOGIN, ensure_logins
from opaque_jobs.cli import demo_steps as steps
from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.demo_jobs import SQL_INPUT, demo_jobs
from opaque_jobs.cli.output import escape, print_json, stderr, trust_text
from opaque_jobs.cli.progress import step
from opaque_jobs.cli.signals import ended_in_order, no_more_interrupts
from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.enclave.runtime import ensure_runtime
from opaque_jobs.errors import ConfigurationError, ConflictError, TrustError
from opaque_jobs.protocol.views import RunView
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.child import Child

__all__ = ["register"]

_GATE_S = 4.0
_RERUN_VALUE = 5


def register(app: Noun) -> None:
    """Add the command."""
    app.command("demo")(demo)


@dataclass(slots=True, kw_only=True)
class _Story:
    """What the demo tells at its end, also as JSON."""

    began: float = field(default_factory=time.monotonic)
    document: dict[str, Any] = field(default_factory=dict)

    def tell(self, **facts: Any) -> None:
        """Add facts."""
        self.document.update(facts)


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up at the end, with Airflow's address and log-ins, until Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of Airflow; 0 takes a free one.")] = 0,
) -> None:
    """Show the whole path with real parts, in a fresh temporary home (or a new one given with --home).

    Draft, test, unanimous approval, generated DAG, sandboxed run on encrypted data, sealed result, rerun.
    """
    story = _Story()
    with ended_in_order(), contextlib.ExitStack() as ending:
        named = _named_home()
        shared = _installed_runtime()
        settings = _fresh_home(ending, named, shared)
        story.began = time.monotonic()
        _warn()
        opened = open_services(settings, migrate=True)
        ending.callback(opened.close)
        cast = steps.Cast(services=opened, passphrase=secrets.token_urlsafe(24))
        stack = _set_up(cast, ending, port=port)
        drafts = _draft_and_test(cast, story)
        address = _approve_and_run(cast, stack, drafts, story)
        story.tell(airflow=address, seconds=round(time.monotonic() - story.began, 1))
        _close(cast, story, home=settings.home, kept=common().home is not None or keep)
        if keep:
            _stay(stack)
        ending.callback(no_more_interrupts)


def _installed_runtime() -> Path:
    """Build the enclave's runtime where every home of this user finds it; this belongs to installing, not to the demo."""
    settings = Settings.load()
    with step("checking the enclave's runtime (built once for you; the demo's home takes it from there)") as shown:
        ensure_runtime(settings, shown.say)
    return settings.runtime_dir


def _named_home() -> Path | None:
    """Give the folder that was named for the home, checked before anything long begins; None if none was.

    Raises:
        ConflictError: It has something in it.
        ConfigurationError: It cannot be made.
    """
    named = common().home
    if named is None:
        return None
    home = named.resolve()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(home.iterdir()):
            raise ConflictError("the home for the demo is not empty", hint="give a folder that does not exist yet")
    except OSError:
        raise ConfigurationError("the home for the demo cannot be made", hint="choose another place with --home") from None
    return home


def _fresh_home(ending: contextlib.ExitStack, named: Path | None, runtime: Path) -> Settings:
    """Make the home. One that was made here is removed at the end; one that was named never is, whatever happens.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        home = named or Path(tempfile.mkdtemp(prefix="opaque-jobs-demo-"))
        if named is None:
            ending.callback(shutil.rmtree, home, ignore_errors=True)
        else:
            ending.push(_tell_what_stays(home))
        ending.callback(no_more_interrupts)
        (home / "runtime").symlink_to(runtime)
    except OSError:
        raise ConfigurationError("the home for the demo cannot be made", hint="choose another place with --home") from None
    for name in ("OPAQUE_JOBS_DATABASE_URL", "OPAQUE_JOBS_AIRFLOW_DATABASE_URL", "OPAQUE_JOBS_STORAGE"):
        os.environ.pop(name, None)  # the demo never touches a database or a storage that somebody uses
    return Settings.load({**os.environ, "OPAQUE_JOBS_HOME": str(home)})


def _tell_what_stays(home: Path) -> Callable[[type[BaseException] | None, BaseException | None, object], bool]:
    def tell(kind: type[BaseException] | None, _error: BaseException | None, _trace: object) -> bool:
        if kind is not None:
            stderr().print(f"the demo did not end well; what it made stays in {home}", markup=False)
        return False

    return tell


def _warn() -> None:
    stderr().print(
        "\n[bold yellow]SIMULATED ENCLAVE.[/] This machine plays the hardware. Everything else is real, but whoever runs this "
        "machine could read the data. Results and receipts say so.\n"
    )


def _set_up(cast: steps.Cast, ending: contextlib.ExitStack, *, port: int) -> Child:
    settings = cast.services.context.settings
    with step("two organisations and three members make their keys") as shown:
        steps.found_organisations(cast, shown)
        shown.note("Hospital: anna, ben.  Laboratory: lea.  Each organisation has its own key broker.")
    stack = steps.start_stack(cast, port=port)
    ending.callback(stack.stop)
    ending.callback(no_more_interrupts)
    with step("the key brokers start (Airflow starts in the background)"):
        steps.wait_for_brokers(cast, stack)
    with step("the members found a workspace") as shown:
        steps.found_workspace(cast, shown)
    with step("each owner encrypts real data (Wisconsin breast cancer, 569 patients)") as shown, _scratch(settings) as folder:
        steps.encrypt_data(cast, folder, shown)
    return stack


@contextlib.contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """Give a folder for the owners' plain files; it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="owners-", dir=settings.home) as folder:
        yield Path(folder)


def _draft_and_test(cast: steps.Cast, story: _Story) -> list[steps.Drafted]:
    drafts = [steps.draft_job(cast, job) for job in demo_jobs(datetime.now(UTC))]
    tests: dict[str, int] = {}
    for drafted in drafts:
        job = drafted.job
        with step(f"{job.author} tests '{job.name}' ({job.kind}) on synthetic data in the sandbox") as shown:
            found = steps.try_and_submit(cast, drafted, shown)
            tests[job.name] = len(found.rows)
            shown.note(f"{len(found.rows)} rows from synthetic data; submitted with {job.author}'s signed approval (1 of 3)")
    story.tell(test_rows=tests)
    return drafts


def _approve_and_run(cast: steps.Cast, stack: Child, drafts: list[steps.Drafted], story: _Story) -> str:
    with step("second approvals") as shown:
        for drafted in drafts:
            status = steps.approve(cast, drafted, drafted.job.second)
            shown.note(f"'{drafted.job.name}': {drafted.job.second} approved (2 of 3), status [bold]{status}[/]")
    with step("Airflow becomes ready") as shown:
        address = steps.wait_for_airflow(cast, stack, shown)
    first = drafts[0]
    with step(f"{first.job.author} starts '{first.job.name}' in Airflow: it must wait at the gate") as shown:
        run = steps.start_run(cast, first, {})
        tasks = steps.waits_at_gate(cast, first, run, for_s=_GATE_S)
        waiting = ", ".join(f"{task}: {state or 'not started'}" for task, state in tasks.items())
        shown.note(f"[bold]waiting[/] for {first.job.third}'s vote. In Airflow: {escape(waiting)}")
        story.tell(gate=tasks)
    with step("third approvals") as shown:
        for drafted in drafts:
            status = steps.approve(cast, drafted, drafted.job.third)
            shown.note(f"'{drafted.job.name}': {drafted.job.third} approved (3 of 3), status [bold]{status}[/]")
    runs: list[RunView] = [run, *(steps.start_run(cast, drafted, {}) for drafted in drafts[1:])]
    told = [_show_outcome(cast, drafted, started) for drafted, started in zip(drafts, runs, strict=True)]
    with step(f"{first.job.author} reruns '{first.job.name}' with {SQL_INPUT} = {_RERUN_VALUE}, as approved"):
        again = steps.start_run(cast, first, {SQL_INPUT: _RERUN_VALUE})
    told.append(_show_outcome(cast, first, again))
    story.tell(runs=told)
    return address


def _show_outcome(cast: steps.Cast, drafted: steps.Drafted, started: RunView) -> dict[str, Any]:
    """Wait for one run, then show its result to its author, the refusal to the others, and the receipt to all."""
    job, owner = drafted.job, cast.organisation_of(drafted.job.author)
    with step(f"'{job.name}' runs in the enclave") as shown:
        run = steps.finish_run(cast, drafted, started, shown)
        opened = steps.open_for_author(cast, drafted, run)
        refused = steps.refusals_for(cast, drafted, run)
        report = steps.verify_for(cast, run, "lea" if job.author != "lea" else "ben")
        if run.duration_s is not None:
            shown.note(f"the enclave's task took {run.duration_s:.1f} s (the jobs run side by side)")
    if not report.holds or report.receipt is None:
        raise TrustError("a receipt of the demo does not hold", hint=report.steps[-1].name)
    console = stderr()
    console.print(f"  result, opened by {owner}:")
    console.print(_table(opened))
    for how, message in refused.items():
        console.print(f"  [red]refused[/] to the other organisation, {how}: {escape(message)}")
    console.print(
        f"  receipt [green]verified[/] in {len(report.steps)} steps; trust: {trust_text(report.receipt.trust_label.value)}\n"
    )
    return {
        "job": job.name,
        "run_id": run.id,
        "state": run.state.value,
        "inputs": dict(run.inputs),
        "trust_label": report.receipt.trust_label.value,
        "receipt_holds": report.holds,
        "refused": refused,
        "rows": opened.rows,
    }


def _table(opened: steps.Opened) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    for name in opened.columns:
        table.add_column(escape(name))
    for row in opened.rows[:12]:
        table.add_row(*(f"{value:.5g}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def _close(cast: steps.Cast, story: _Story, *, home: Path, kept: bool) -> None:
    console = stderr()
    console.print(
        f"[bold green]All of it worked[/], in {story.document['seconds']:.0f} s. Trust label of every result: simulated."
    )
    if kept:
        logins = ensure_logins(cast.services.context.settings, [ADMIN_LOGIN, *cast.members])
        secret = home / "demo-passphrase"
        write_new_private_file(secret, cast.passphrase.encode())
        console.print(f"home: {home}   passphrase of every key: in {secret}", markup=False)
        console.print(f"Airflow: {story.document['airflow']}", markup=False)
        for name, password in logins.items():
            console.print(f"  log-in  {name}  {password}", markup=False)
        story.tell(home=str(home), logins=logins)
    if common().json:
        print_json(story.document)


def _stay(stack: Child) -> None:
    """Stay until Ctrl-C.

    Raises:
        ConfigurationError: The stack ended by itself.
    """
    stderr().print("It stays up until Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        while not stack.ended:
            time.sleep(0.5)
        raise ConfigurationError("'opaque-jobs up' ended by itself", hint=stack.last_words() or "read its log")
