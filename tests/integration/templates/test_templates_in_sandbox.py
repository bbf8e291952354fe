"""The built-in templates compute what their own tests expect, in the real sandbox with the real engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.job import Code
from opaque_jobs.templates import BUILT_IN
from opaque_jobs.templates.conformance import compare_rows
from opaque_jobs.templates.definition import read_template
from opaque_jobs.templates.rendering import render
from tests.support.sandbox_jobs import run_test_job
from tests.support.template_folders import as_rows, as_table, make_template

pytestmark = pytest.mark.spark
HOSTILE = [
    "`", "'; DROP TABLE x; --", '"', "\\", "\\'", "'\\''", "a\nb", "*/", "--", ":least", "é", "数",
    "%41", "${x}", "${env:PATH}", "a.b", "😀",
]  # fmt: skip


@pytest.fixture
def run(enclave_runtime, tmp_path: Path):
    def run_code(code: Code, datasets: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        outcome = run_test_job(enclave_runtime, tmp_path, code, {alias: as_table(data) for alias, data in datasets.items()})
        assert outcome.failure is None, outcome.log
        assert outcome.table is not None
        return as_rows(outcome.table)

    return run_code


@pytest.mark.parametrize(
    ("name", "case_name"),
    [
        ("overlap-count", "matches-on-two-keys"),
        ("join-and-aggregate", "groups-by-city"),
        ("logistic-regression", "agrees-with-a-general-optimiser"),
    ],
)
def test_built_in_template_in_the_sandbox_gives_what_its_test_expects(run, name, case_name):
    template = read_template(BUILT_IN / name)
    case = next(case for case in template.cases if case.name == case_name)
    columns = {
        alias: tuple(Column(name=column["name"], type=column["type"]) for column in data["columns"])
        for alias, data in case.datasets.items()
    }
    names, rows = run(render(template, case.parameters, columns).code, case.datasets)
    compare_rows(template, case, names, rows)


def test_hostile_names_and_values_reach_the_engine_as_they_are(enclave_runtime, tmp_path):
    parameters = {
        "type": "object",
        "additionalProperties": False,
        "required": ["columns", "words"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string", "x-column-of": "people"}},
            "words": {"type": "array", "items": {"type": "string"}},
        },
    }
    selected = "for_each(columns, named(column_of(item), item)), for_each(words, named(value_of(item), 'value ', item))"
    logic = f"SELECT {selected} FROM people"  # noqa: S608 - the template is the test's own
    template = read_template(make_template(tmp_path / "template", parameters=parameters, logic=logic))
    table = pa.table({name: pa.array([index]) for index, name in enumerate(HOSTILE)})
    columns = {"people": tuple(Column(name=name, type="int64") for name in HOSTILE)}
    code = render(template, {"datasets": {"people": "people"}, "columns": HOSTILE, "words": HOSTILE}, columns).code
    outcome = run_test_job(enclave_runtime, tmp_path / "run", code, {"people": table})
    assert outcome.failure is None, outcome.log
    assert outcome.table is not None
    values = [list(row.values()) for row in outcome.table.to_pylist()]
    assert values == [[*range(len(HOSTILE)), *HOSTILE]]
    assert outcome.table.column_names == [*HOSTILE, *(f"value _{word}" for word in HOSTILE)]
