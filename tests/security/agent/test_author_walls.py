"""The author's code is the adversary: every way out that is known must be closed, in one run of all of them."""

import ast
from pathlib import Path

import pyarrow as pa
import pytest

from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import OutputPolicy

pytestmark = pytest.mark.spark

HOSTILE = Path(__file__).with_name("hostile_python.py").read_text()
PROBES = [
    node.name
    for node in ast.parse(HOSTILE).body
    if isinstance(node, ast.FunctionDef) and any(getattr(each, "id", "") == "probe" for each in node.decorator_list)
]
PEOPLE = pa.table({"id": [1, 2, 3], "na%20me": ["a", "b", "c"], "unseen": [10, 20, 30]})
ROOMY = OutputPolicy(max_rows=1000, max_columns=10, max_bytes=1 << 24, preview_rows=0)


@pytest.fixture(scope="module")
def answers(runs):
    runs.add(runs.world.hospital, "people", pa.table({"id": [1], "na me": ["a"]}))
    spec = runs.spec(HOSTILE, Language.PYTHON, output_policy=ROOMY)
    done = runs.run_test(spec, {"people": PEOPLE})
    assert done.failure is None, done.test_log
    return {row["name"]: row for row in done.test_rows}


@pytest.mark.parametrize("name", PROBES)
def test_author_probe_is_refused(answers, name):
    answer = answers[name]
    assert answer["outcome"] == "refused", answer["detail"]
    assert "cannot be judged" not in answer["detail"]
    assert "failed to launch" not in answer["detail"]


def test_author_refusal_of_a_path_says_what_to_do(answers):
    assert "use the data set by its name" in answers["read_text"]["detail"]
