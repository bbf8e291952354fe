"""Live progress on stderr for long work; plain lines where there is no terminal, so that logs stay readable."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from opaque_jobs.cli.output import escape, stderr

__all__ = ["Step", "counting", "step"]


class Step:
    """One running step: `say` replaces its detail, `note` prints a line under it that stays."""

    def __init__(self, title: str, console: Console, live: Progress | None) -> None:
        self._title = title
        self._console = console
        self._live = live
        self._task = live.add_task(title, total=None, detail="") if live else None

    def say(self, detail: str) -> None:
        """Tell what is going on now."""
        if self._live is not None and self._task is not None:
            self._live.update(self._task, detail=escape(detail))
        else:
            self._console.print(f"  [dim]{escape(detail)}[/]")

    def note(self, text: str) -> None:
        """Print a line that stays; rich markup is understood."""
        self._console.print(f"  {text}")


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show a step while the block runs, and its time when it is done."""
    console = stderr()
    began = time.monotonic()
    if not sys.stderr.isatty():
        console.print(f"[bold]{escape(title)}[/] ...")
        yield Step(title, console, None)
    else:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.fields[detail]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as live:
            yield Step(title, console, live)
    console.print(f"[green]done[/] {escape(title)} [dim]({time.monotonic() - began:.1f} s)[/]")


@contextmanager
def counting(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs, from its first progress on; the block calls what it is given with the amount just done."""
    if not sys.stderr.isatty():
        yield lambda _amount: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    live = Progress(*columns, console=stderr(), transient=True)
    task = live.add_task(escape(title), total=total)

    def advance(amount: int) -> None:
        live.start()  # not before: the block may ask for a passphrase first
        live.update(task, advance=amount)

    try:
        yield advance
    finally:
        live.stop()
