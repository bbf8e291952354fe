"""The steps of a verification as people read them: in order, up to the first that does not hold."""

from collections.abc import Iterable

from opaque_jobs.cli.output import escape, stdout
from opaque_jobs.verify.receipts import Step

__all__ = ["print_steps"]


def print_steps(steps: Iterable[Step]) -> None:
    """Print each step, whether it holds, and if not why."""
    for each in steps:
        mark = "[green]holds[/]" if not each.problem else "[bold red]FAILS[/]"
        stdout().print(f"  {each.number}. {mark}  {escape(each.name)}" + (f": {escape(each.problem)}" if each.problem else ""))
