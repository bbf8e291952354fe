"""The program `opaque-jobs`: one group of commands per noun. Commands parse, call services, sign with local keys and print.

Only the modules of the command that was asked for are loaded: a short answer should not wait for what it does not need.
"""

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from opaque_jobs.cli.command import EXIT_CODES, Noun

__all__ = ["build_app", "run"]

_NOUNS: Final = (
    "org",
    "member",
    "workspace",
    "dataset",
    "template",
    "query",
    "job",
    "review",
    "consent",
    "run",
    "result",
    "receipt",
    "attest",
    "broker",
    "log",
    "airflow",
    "runtime",
)
_VERBS: Final = ("demo", "up", "status", "doctor")


def build_app(arguments: Sequence[str] = ()) -> Noun:
    """Give the program; with arguments whose first word is a command, that command alone.

    Args:
        arguments: The command line, without the program's name.
    """
    app = Noun(
        name="opaque-jobs",
        help="Run analyses together on data that you may not show each other.",
        epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES) + ".",
    )
    app.callback(invoke_without_command=True)(_root)
    wanted = [*arguments[:1]] if arguments and arguments[0] in (*_VERBS, *_NOUNS) else [*_VERBS, *_NOUNS]
    for name in wanted:
        module = importlib.import_module(f"opaque_jobs.cli.{name}")
        if name in _VERBS:
            module.register(app)
        else:
            app.add_typer(module.app, name=name)
    return app


def _root(
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
    build_app(sys.argv[1:])()
