"""`opaque-jobs doctor`: what this machine has and lacks, and how to mend it."""

from typing import Annotated

import typer

from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.output import print_json, stderr, stdout
from opaque_jobs.enclave.doctor import Check, CheckState, run_checks

__all__ = ["register"]

_LOOKS = {CheckState.OK: "[green]ok[/]  ", CheckState.WARN: "[yellow]warn[/]", CheckState.FAIL: "[bold red]fail[/]"}


def register(app: Noun) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(*, port: Annotated[int, typer.Option(help="Port that 'opaque-jobs up' would use for Airflow.")] = 8080) -> None:
    """Say what this machine has and lacks for runs, with the mend. Ends with 3 if something is missing."""
    checks = run_checks(load_settings(), ports={"Airflow": port})
    failed = [check for check in checks if check.state is CheckState.FAIL]
    if common().json:
        print_json([_document(check) for check in checks])
    else:
        for check in checks:
            stdout().print(f"{_LOOKS[check.state]} [bold]{check.name}[/]  {check.what}")
            if check.mend and check.state is not CheckState.OK:
                stdout().print(f"       mend: {check.mend}", markup=False)
        stderr().print(f"{len(failed)} missing" if failed else "[green]this machine can run jobs[/]")
    if failed:
        raise typer.Exit(3)


def _document(check: Check) -> dict[str, str]:
    return {"name": check.name, "state": check.state.value, "what": check.what, "mend": check.mend}
