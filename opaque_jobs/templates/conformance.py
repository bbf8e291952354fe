"""What platform teams run on their own templates: `check_template(folder)` in a test of theirs.

Checks the format, renders every test case twice, tries hostile names and values, and, with a runner, computes each case and
compares. A runner is anything that runs a job's code on small tables: the product's own sandbox, or a local Spark.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.job import Code
from opaque_jobs.errors import InvalidInputError
from opaque_jobs.templates.definition import Case, Template, read_template
from opaque_jobs.templates.rendering import Rendered, render
from opaque_jobs.templates.validation import ParameterValidator

__all__ = ["Runner", "check_template", "compare_rows"]

Runner = Callable[[Code, Mapping[str, Any]], tuple[Sequence[str], Sequence[Sequence[Any]]]]
"""Runs code on data sets (alias -> `{"columns", "rows"}`) and gives column names and rows."""


def check_template(folder: Path, *, run: Runner | None = None) -> Template:
    """Check a template as its users will meet it.

    Args:
        folder: The template.
        run: Computes the test cases; None checks the format and rendering only.

    Raises:
        InvalidInputError: Something is wrong; the message names the test case.
    """
    template = read_template(folder)
    if not template.cases:
        raise _wrong(template, "has no test", "add tests/<name>.json with parameters, data and the expected result")
    examples = ParameterValidator(template.parameters)
    if not all(map(examples.is_valid, template.parameters.get("examples", []))):
        raise _wrong(template, "has an example that its own parameters refuse", "write it as an author would, with 'datasets'")
    for case in template.cases:
        rendered = _render(template, case)
        if run is not None:
            names, rows = run(rendered.code, case.datasets)
            compare_rows(template, case, names, rows)
    return template


def _wrong(template: Template, problem: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"template '{template.name}' {problem}", hint=hint, template=template.name)


def _render(template: Template, case: Case) -> Rendered:
    datasets = {
        alias: tuple(Column(name=column["name"], type=column["type"]) for column in data["columns"])
        for alias, data in case.datasets.items()
    }
    rendered = render(template, case.parameters, datasets)
    if render(template, rendered.use.parameters, datasets) != rendered:
        raise _wrong(template, f"gives another text the second time (test {case.name})", "rendering must be deterministic")
    return rendered


def compare_rows(template: Template, case: Case, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Compare a result with what a case expects.

    Raises:
        InvalidInputError: It differs.
    """
    expected = case.expected
    if list(names) != list(expected["columns"]):
        raise _wrong(template, f"gives other columns than its test '{case.name}' expects", "see the columns of the test")
    wanted, got = list(expected["rows"]), [list(row) for row in rows]
    if not expected["ordered"]:
        wanted, got = sorted(wanted, key=_key), sorted(got, key=_key)
    same = len(wanted) == len(got) and all(
        len(left) == len(right) and all(_same(a, b, expected["tolerance"]) for a, b in zip(left, right, strict=True))
        for left, right in zip(wanted, got, strict=True)
    )
    if not same:
        raise _wrong(template, f"gives another result than its test '{case.name}' expects", "run the test by hand and compare")


def _key(row: Sequence[Any]) -> list[str]:
    return [f"{value:.6g}" if isinstance(value, float) else repr(value) for value in row]


def _same(wanted: Any, got: Any, tolerance: float) -> bool:
    if isinstance(wanted, int | float) and isinstance(got, int | float) and not isinstance(wanted, bool):
        return math.isclose(wanted, got, rel_tol=tolerance, abs_tol=tolerance)
    return bool(wanted == got) and type(wanted) is type(got)
