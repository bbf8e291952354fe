"""The program `opaque-jobs`: one group of commands per noun. Commands parse, call services, sign with local keys and print."""

import importlib.metadata
from typing import Annotated

import typer

from opaque_jobs.cli.command import EXIT_CODES, Noun

__all__ = ["app", "run"]

app = Noun(
    name="opaque-jobs",
    help="Run analyses together on data that you may not show each other.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES) + ".",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Run analyses together on data that you may not show each other.

    New here? Run [bold]opaque-jobs demo[/].
    """
    if version:
        typer.echo(importlib.metadata.version("opaque-jobs"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run() -> None:
    """Entry point of the console script."""
    app()
