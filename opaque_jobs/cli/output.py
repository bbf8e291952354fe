"""What commands print: tables and records for people, JSON with stable keys for programs.

stdout carries the answer and nothing else; progress and errors go to stderr. rich leaves colours out by itself when stdout is
no terminal or NO_COLOR is set.
"""

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from rich import markup
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from opaque_jobs.client.visible import is_unseen, visible

__all__ = [
    "escape",
    "print_code",
    "print_json",
    "print_record",
    "print_rows",
    "stderr",
    "stdout",
    "trust_text",
]

_WIDE: Final = 500
_WHOLE: Final = ("id", "_id", "digest")
"""Endings of columns that people copy: never folded."""


def stdout() -> Console:
    """Give the console of the answer."""
    return Console(highlight=False, **_shape(sys.stdout.isatty()))


def stderr() -> Console:
    """Give the console of progress and errors."""
    return Console(stderr=True, highlight=False, **_shape(sys.stderr.isatty()))


def _shape(terminal: bool) -> dict[str, Any]:
    """Give the width: a file or pipe has none, so nothing is folded there."""
    return {} if terminal else {"soft_wrap": True, "width": _WIDE}


def print_json(document: Any) -> None:
    """Print a document as JSON, one value a call; what stays unseen in its text is escaped as JSON does it."""
    text = json.dumps(document, ensure_ascii=False, indent=2)  # a line's end in it is never one of the text's
    sys.stdout.write("".join(json.dumps(each)[1:-1] if each != "\n" and is_unseen(each) else each for each in text) + "\n")


def escape(text: str) -> str:
    """Return somebody else's text for a console: it is no markup, and nothing in it stays unseen."""
    return markup.escape(visible(text))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items()) or "-"
    return visible(str(value))


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value)


def _lines(value: Any) -> str:
    """Give a list or mapping with one item a line; an item cannot look like two."""
    if isinstance(value, Mapping):
        names = [_line(key) for key in value]
        width = max(map(len, names), default=0)
        return "\n".join(f"{name:<{width}}  {_line(item)}" for name, item in zip(names, value.values(), strict=True))
    return "\n".join(map(_line, value))


def _line(value: Any) -> str:
    return _text(value).replace("\n", "\\n")


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str = "nothing yet") -> None:
    """Print rows as a table of these columns, or all of each row as JSON."""
    listed = [dict(row) for row in rows]
    if as_json:
        print_json(listed)
        return
    if not listed:
        stdout().print(f"[dim]{escape(empty)}[/]")
        return
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column.endswith(_WHOLE))
    for row in listed:
        table.add_row(*(escape(_text(row.get(column))) for column in columns))
    stdout().print(table)


def print_record(
    record: Mapping[str, Any], *, as_json: bool, title: str = "", whole: bool = False, listed: Collection[str] = ()
) -> None:
    """Print one thing as `name  value` lines, or as JSON.

    Args:
        record: The thing.
        as_json: For programs: all of it.
        title: For people.
        whole: For people too, what is empty: where they decide on it, it counts that nothing is set.
        listed: Values of which each item stands on a line of its own.
    """
    if as_json:
        print_json(record)
        return
    if title:
        stdout().print(f"[bold]{escape(title)}[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in record.items():
        if whole or not _empty(value):
            table.add_row(key.replace("_", " "), escape(_lines(value) if key in listed else _text(value)))
    if table.row_count:
        stdout().print(table)


def print_code(text: str, language: str, *, numbered: bool = False) -> None:
    """Print code, highlighted where there is a terminal; every character that runs is seen."""
    shown = Syntax(visible(text), language, theme="ansi_dark", background_color="default", word_wrap=True, line_numbers=numbered)
    stdout().print(shown)


def trust_text(label: str) -> str:
    """Give a trust label for people: none is shown without what it means."""
    if label == "simulated":
        return "[bold yellow]SIMULATED[/] (no hardware protects this: whoever runs the machine can read everything)"
    return (
        f"[bold yellow]{escape(label)}[/] (experimental: vouches for the whole guest with the Airflow worker in it, not for the "
        "enclave's runtime)"
    )
