"""What commands print: tables and records for people, JSON with stable keys for programs.

stdout carries the answer and nothing else; progress and errors go to stderr. rich leaves colours out by itself when stdout is
no terminal or NO_COLOR is set.
"""

import json
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from rich import markup
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

__all__ = [
    "escape",
    "print_code",
    "print_json",
    "print_record",
    "print_rows",
    "stderr",
    "stdout",
    "trust_text",
    "visible",
]

_WIDE: Final = 500
_WHOLE: Final = ("id", "_id", "digest")
"""Endings of columns that people copy: never folded."""
_UNSEEN: Final = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Unicode categories: control, format (text direction too), not assigned, private, half a pair, line and paragraph separator."""
_BLANK: Final = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
"""Letters and marks that show nothing all the same: fillers, joiners, variation selectors, the empty Braille pattern.

Source: Unicode, Default_Ignorable_Code_Point, apart from the categories above.
"""


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
    sys.stdout.write("".join(json.dumps(each)[1:-1] if each != "\n" and _is_unseen(each) else each for each in text) + "\n")


def visible(text: str) -> str:
    """Return somebody else's text with nothing that a terminal obeys or that stays unseen: such characters are spelt out."""
    return "".join(char.encode("unicode_escape").decode() if char not in "\n\t" and _is_unseen(char) else char for char in text)


def escape(text: str) -> str:
    """Return somebody else's text for a console: it is no markup, and nothing in it stays unseen."""
    return markup.escape(visible(text))


def _is_unseen(char: str) -> bool:
    return char in _BLANK or unicodedata.category(char) in _UNSEEN


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
