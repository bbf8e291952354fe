"""SQL hidden in the values of parameters: all forms that Connect knows, times every way to send them, in one run."""

from pathlib import Path

import pyarrow as pa
import pytest

from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import OutputPolicy

pytestmark = pytest.mark.spark

CODE = Path(__file__).with_name("hostile_parameters.py").read_text()
PEOPLE = pa.table({"id": [1, 2, 3], "name": ["a", "b", "canary-parameter"]})
ROOMY = OutputPolicy(max_rows=10_000, max_columns=10, max_bytes=1 << 24, preview_rows=0)


@pytest.fixture(scope="module")
def done(runs):
    runs.add(runs.world.hospital, "people", pa.table({"id": [1], "name": ["a"]}))
    done = runs.run_test(runs.spec(CODE, Language.PYTHON, output_policy=ROOMY), {"people": PEOPLE})
    assert done.failure is None, done.test_log
    return done


def test_sql_parameter_never_makes_the_engine_write_or_run_anything(done):
    found = {path.relative_to(done.out).as_posix() for path in done.out.rglob("*")}
    assert not any("stolen" in name for name in found)
    assert not any(b"canary-parameter" in path.read_bytes() for path in done.out.rglob("*") if path.is_file())


def test_sql_parameter_hostile_forms_are_values_or_refused_before_the_engine(done):
    rows = [row for row in done.test_rows if row["what"] == "hostile"]
    assert len(rows) > 240
    # A value is one row; what the wall in the engine had to stop would mean that the gate judged another text.
    assert {row["name"]: row for row in rows if row["outcome"] == "done" and row["detail"] not in {"0", "1"}} == {}
    assert [row for row in rows if "InsertIntoDataSourceDir" in row["detail"] or "SecurityException" in row["detail"]] == []
    assert {row["outcome"] for row in rows} == {"done", "refused"}


def test_sql_parameter_honest_values_arrive_unchanged(done):
    assert {row["name"]: row["detail"] for row in done.test_rows if row["what"] == "honest" and row["outcome"] != "True"} == {}
