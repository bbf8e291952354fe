"""What all commands have in common: `--json`, `--home`, `--debug`, and how they end.

Every error becomes one sentence and a hint on stderr, with the exit code of its family; a traceback is shown only when asked
for. Data never gets into it: an unexpected error is named by its type, because its text could hold a value.
"""

import functools
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from opaque_jobs.cli.output import escape, stderr
from opaque_jobs.errors import OpaqueJobsError
from opaque_jobs.settings import Settings

__all__ = ["EXIT_CODES", "INTERRUPTED", "Common", "Noun", "common", "load_settings", "repeatable"]

INTERRUPTED: Final = 130
EXIT_CODES: Final = (
    (0, "done"),
    (1, "an unexpected error"),
    (2, "the command line is wrong"),
    (3, "the installation or the machine lacks something"),
    (4, "not found"),
    (5, "the input is not valid"),
    (6, "not allowed"),
    (7, "not possible in the present state"),
    (8, "a signature, seal, digest or consent does not hold, or vouches for nobody"),
    (9, "the sandbox failed"),
    (INTERRUPTED, "interrupted by Ctrl-C"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Options that every command takes."""

    json: bool = False
    home: Path | None = None
    debug: bool = False


_common: ContextVar[Common] = ContextVar("common", default=Common())  # noqa: B039 - frozen


def common() -> Common:
    """Give the common options of the running command."""
    return _common.get()


def load_settings() -> Settings:
    """Give the settings of the installation that the command works on.

    Raises:
        ConfigurationError: A value cannot be used.
    """
    home = common().home
    return Settings.load({**os.environ, "OPAQUE_JOBS_HOME": str(home.resolve())} if home else None)


_PANEL: Final = "Common options"
_COMMON_OPTIONS: Final[dict[str, Any]] = {
    "json": Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.", rich_help_panel=_PANEL)],
    "home": Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The installation's folder (instead of OPAQUE_JOBS_HOME).", rich_help_panel=_PANEL),
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_PANEL)],
}


def _with_common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the function as typer shall see it: with the common options, and with the common end."""

    @functools.wraps(function)
    def command(*args: Any, json: bool, home: Path | None, debug: bool, **kwargs: Any) -> Any:
        token = _common.set(Common(json=json, home=home, debug=debug))
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            stderr().print("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except OpaqueJobsError as error:
            _show(error)
            raise typer.Exit(error.exit_code) from None
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - the last defence against a raw traceback
            _show_unexpected(error)
            raise typer.Exit(1) from None
        finally:
            _common.reset(token)

    own = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=getattr(Common(), name))
        for name, kind in _COMMON_OPTIONS.items()
    ]
    vars(command)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *added])
    command.__annotations__ = {**function.__annotations__, **_COMMON_OPTIONS}
    return command


def _show(error: OpaqueJobsError) -> None:
    options = common()
    if options.debug:
        traceback.print_exc()
    if options.json:
        document = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "facts": error.facts}
        sys.stderr.write(json.dumps({"error": document}) + "\n")
        return
    stderr().print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        stderr().print(f"  [bold]hint:[/] {escape(error.hint)}")


def _show_unexpected(error: Exception) -> None:
    options = common()
    if options.debug:
        traceback.print_exc()
    name = type(error).__name__
    message = f"an unexpected error ({name}): this is a fault of the program"
    hint = "run it again with --debug and report what it prints, after taking out what is confidential"
    if options.json:
        sys.stderr.write(json.dumps({"error": {"kind": name, "message": message, "hint": hint, "facts": {}}}) + "\n")
    else:
        stderr().print(f"[bold red]error:[/] {message}\n  [bold]hint:[/] {hint}")


def repeatable(name: str, text: str) -> Any:
    """Give an option that may stand any number of times; none is an empty list."""
    return typer.Option(name, default_factory=list, show_default=False, help=text)


class Noun(typer.Typer):
    """The commands of one noun."""

    def __init__(self, **settings: Any) -> None:
        settings = {
            "no_args_is_help": True,
            "rich_markup_mode": "rich",
            "pretty_exceptions_enable": False,
            "context_settings": {"help_option_names": ["-h", "--help"]},
            **settings,
        }
        super().__init__(**settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command with the common options."""
        register = super().command(name, **settings)
        return lambda function: register(_with_common_options(function))
