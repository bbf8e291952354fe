"""Names and what hangs on columns are outputs too: real sealed runs that put values there."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import result_aad_prefix, result_file_key
from opaque_jobs.domain.job import Language
from opaque_jobs.protocol.enclave import FailureWord
from opaque_jobs.protocol.result_files import KEY_FILE, Content, open_file, seal_info
from tests.support.sealed_run import RUN_ID

pytestmark = pytest.mark.spark

PEOPLE = pa.table({"id": pa.array(range(900), pa.int64()), "name": [f"canary-{n}" for n in range(900)]})
HOSTILE = """
from pyspark.sql import functions as F
def main(spark, inputs, params):
    rows = [row['name'] for row in inputs['people'].select('name').collect()]
    whole = ', '.join(rows)
    made = spark.range(1).select(
        F.lit(1).alias(whole),
        F.struct(F.lit(2).alias(rows[0]), F.col('id').alias('id', metadata={'comment': whole})).alias('name'),
        F.col('id').alias('kept', metadata={'comment': whole}),
    )
    return made
"""


@pytest.fixture(scope="module")
def done(runs):
    runs.add(runs.world.hospital, "people", PEOPLE)
    done = runs.run_real(runs.spec(HOSTILE, Language.PYTHON))
    assert done.failure is None
    return done


@pytest.fixture(scope="module")
def opened(runs, done):
    return runs.opened(done)


def test_result_names_of_values_go_out_as_places(opened):
    assert opened["rows"] == [{"column_1": 1, "name": {"field_1": 2, "id": 0}, "kept": 0}]
    assert opened["preview"] == opened["rows"]
    assert "called by their place" in opened["log"]


def test_result_footer_holds_no_value_that_no_cell_holds(runs, done, opened):
    info = seal_info(Content.RESULT_KEY, workspace_id=done.spec.workspace_id, job_digest=done.spec.digest, run_id=RUN_ID)
    key = open_file((done.out / KEY_FILE).read_bytes(), runs.world.hospital.sealing, info)
    properties = encryption.create_decryption_properties(
        footer_key=result_file_key(key, run_id=RUN_ID), aad_prefix=result_aad_prefix(run_id=RUN_ID)
    )
    told = ""
    for path in done.out.with_name(f"{done.out.name}-opened").iterdir():
        with pq.ParquetFile(path, decryption_properties=properties) as file:
            told += json.dumps({str(key): str(value) for key, value in file.metadata.metadata.items()}) + str(file.schema)

    assert "org.apache.spark" in told
    assert "canary" not in told


def test_result_of_a_test_run_has_the_names_of_the_real_one(runs, opened):
    done = runs.run_test(runs.spec(HOSTILE, Language.PYTHON), {"people": PEOPLE})

    assert done.test_rows == opened["rows"]


def test_result_of_sql_keeps_the_names_that_its_text_settles(runs, done):
    query = "select sum(case when id > 7 then 1 else 0 end), count(*), max(id) as `most of all` from people"

    (row,) = runs.opened(runs.run_real(runs.spec(query, Language.SQL)))["rows"]

    assert row == {"sum(CASE WHEN (id > 7) THEN 1 ELSE 0 END)": 892, "count(1)": 900, "most of all": 899}


@pytest.mark.parametrize(
    "query",
    [
        "select * from people pivot (count(id) for name in ((select max(name) from people)))",
        "declare variable v string default (select max(name) from people); select 1",
        "select * from people pivot (count(id) for name in (session.v))",
        "select 1 as identifier((select max(name) from people))",
        "select identifier((select max(name) from people)) from people",
    ],
)
def test_result_of_sql_has_no_name_that_rows_decide(runs, done, query):
    assert runs.run_real(runs.spec(query, Language.SQL)).failure is FailureWord.AUTHOR_ERROR
