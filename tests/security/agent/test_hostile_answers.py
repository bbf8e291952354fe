"""Raw answers of the engine in a real run: nothing in them tells of rows and values that the owner holds back."""

from pathlib import Path

import pyarrow as pa
import pytest

from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.row_rule import RowOperator, RowTest

pytestmark = pytest.mark.spark

CODE = Path(__file__).with_name("hostile_answers.py").read_text()
HELD_BACK = 4321
PEOPLE = pa.table(
    {
        "id": list(range(HELD_BACK + 3)),
        "name": [f"shown-{n}" if n < 3 else f"held-back-{n}" for n in range(HELD_BACK + 3)],
        "site": ["A" if n < 3 else "held-back-site" for n in range(HELD_BACK + 3)],
    }
)
ROOMY = OutputPolicy(max_rows=100_000, max_columns=10, max_bytes=1 << 26, preview_rows=0)
SEEN = {
    "session_id", "server_side_session_id", "operation_id", "response_id", "schema", "schema.schema", "arrow_batch",
    "arrow_batch.row_count", "arrow_batch.data", "arrow_batch.start_offset", "arrow_batch.num_chunks_in_batch",
    "arrow_batch.chunk_index", "result_complete", "sql_command_result", "sql_command_result.relation", "tree_string",
    "tree_string.tree_string", "is_local", "is_local.is_local", "is_streaming", "is_streaming.is_streaming", "spark_version",
    "spark_version.version", "persist", "unpersist", "get_storage_level", "get_storage_level.storage_level",
    "get_storage_level.storage_level.use_disk", "get_storage_level.storage_level.use_memory",
    "get_storage_level.storage_level.deserialized", "get_storage_level.storage_level.replication", "ddl_parse",
    "ddl_parse.parsed", "json_to_ddl", "json_to_ddl.ddl_string",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(runs):
    rule = RowTest(column="site", type="string", operator=RowOperator.EQUAL, values=("A",))
    policy = ReleasePolicy(columns=("id", "name"), row_rule=rule)
    runs.add(runs.world.hospital, "people", PEOPLE, policy=policy)
    done = runs.run_real(runs.spec(CODE, Language.PYTHON, output_policy=ROOMY))
    opened = runs.opened(done)
    assert done.failure is None, opened["log"]
    return opened["rows"]


def test_answers_hold_the_listed_fields_only(rows):
    assert {row["detail"] for row in rows if row["what"] == "field"} - SEEN == set()


def test_answers_tell_no_number_of_held_back_rows(rows):
    numbers = (str(HELD_BACK), str(HELD_BACK + 3))
    assert [row for row in rows if row["what"] == "text" and any(f" {number}" in row["detail"] for number in numbers)] == []


def test_answers_and_errors_hold_no_value_that_is_held_back(rows):
    assert [row for row in rows if "held" in row["detail"] and "held-back" in row["detail"]] == []
    assert [row for row in rows if row["what"] == "error" and "/data" in row["detail"]] == []


def test_errors_while_computing_hold_no_value_at_all(rows):
    errors = {row["name"]: row["detail"] for row in rows if row["what"] == "error"}
    assert "shown-" not in str(errors)
    assert errors["relation divide"].startswith("[DIVIDE_BY_ZERO] the engine failed while it computed")


def test_errors_in_the_code_name_what_the_code_wrote(rows):
    errors = {row["name"]: row["detail"] for row in rows if row["what"] == "error"}
    assert "no_such" in errors["relation function"]
    assert "`site`" in errors["relation column"]


def test_analysis_that_compares_plans_is_refused(rows):
    errors = {row["name"] for row in rows if row["what"] == "error"}
    kinds = ("semantic_hash", "same_semantics", "explain", "input_files")
    assert {f"analyze {kind} all" for kind in kinds} <= errors
