"""Real runs of a hostile author: what an owner holds back stays unknown, and nothing but the result gets out."""

import json

import pyarrow as pa
import pytest

from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.row_rule import RowOperator, RowTest
from opaque_jobs.protocol.enclave import FailureWord
from tests.support.sealed_run import SealedRuns

pytestmark = pytest.mark.spark

CANARY = "canary-7f3a"
PEOPLE = pa.table({"id": [1, 2, 3], "name": ["anna", CANARY, "held back"], "site": ["A", "A", "held-back-site"]})
ROOMY = OutputPolicy(max_rows=100, max_columns=10, max_bytes=1 << 24, preview_rows=10)

CURIOUS = """
from pyspark.sql import functions as F

def main(spark, inputs, params):
    people = inputs["people"]
    said = []
    for attempt in (
        lambda: people.select("site").collect(),
        lambda: people.select(people["id"] + F.struct("id")).collect(),
        lambda: people.select(F.raise_error(F.lit("plan"))).collect(),
        lambda: people.createTempView("other_name"),
    ):
        try:
            attempt()
            said.append("nothing")
        except Exception as error:
            said.append(f"{error} {getattr(error, '_stacktrace', '')} {error.__dict__}")
    # Were these evaluated before the owner's condition, row 3 would make them fail.
    fold = people.where("id <> 3 or raise_error('row 3 was seen') is null").count()
    divide = spark.sql("select count(1 / (id - 3)) as n from people where 1 / (id - 3) is not null").collect()[0]["n"]
    trap = F.udf(lambda x: 1 // (x - 3), "long")
    udf = people.where(trap("id") < 5).count()
    return spark.createDataFrame([("said", " ".join(said)), ("counts", f"{fold} {divide} {udf}")], "what string, detail string")
"""

TALKATIVE = """
class Canary7f3a(Exception):
    pass

def main(spark, inputs, params):
    name = inputs["people"].where("id = 2").collect()[0]["name"]
    print("I saw", name)
    import sys
    sys.stderr.write(name)
    raise type(name, (Exception,), {})(name)
"""


@pytest.fixture(scope="module")
def runs(enclave_runtime, tmp_path_factory) -> SealedRuns:
    runs = SealedRuns(runtime=enclave_runtime, folder=tmp_path_factory.mktemp("real"))
    rule = RowTest(column="site", type="string", operator=RowOperator.NOT_EQUAL, values=("held-back-site",))
    policy = ReleasePolicy(columns=("id", "name"), row_rule=rule)
    runs.add(runs.world.hospital, "people", PEOPLE, policy=policy)
    return runs


@pytest.fixture(scope="module")
def curious(runs):
    done = runs.run_real(runs.spec(CURIOUS, Language.PYTHON, output_policy=ROOMY))
    opened = runs.opened(done)
    assert done.failure is None, opened["log"]
    return {row["what"]: row["detail"] for row in opened["rows"]}


def test_owner_condition_is_in_no_message_that_the_author_gets(curious):
    assert "site" not in curious["said"].replace("`site`", "")
    assert "held" not in curious["said"]
    assert "Relation" not in curious["said"]


def test_owner_condition_comes_before_whatever_the_author_computes(curious):
    assert curious["counts"] == "2 2 2"


@pytest.fixture(scope="module")
def talkative(runs):
    return runs.run_real(runs.spec(TALKATIVE, Language.PYTHON, output_policy=ROOMY))


def test_author_error_leaves_only_the_sealed_log(talkative):
    assert talkative.failure is FailureWord.AUTHOR_ERROR
    assert talkative.outcome.files == ("log.sealed.json",)


def test_author_error_log_holds_nothing_that_was_read(runs, talkative):
    log = runs.opened(talkative)["log"]
    assert CANARY not in log
    assert "the code failed: an exception, at line " in log


def test_host_learns_nothing_but_words_from_the_run(talkative):
    seen = json.dumps([talkative.words, [r.body for r in talkative.requests], str(talkative.outcome)])
    assert CANARY not in seen
    assert set(talkative.words) <= {"measuring", "attesting", "fetching-keys", "starting-engine", "computing"}


def test_result_beyond_the_policy_is_refused_whole(runs):
    policy = OutputPolicy(max_rows=1, max_columns=10, max_bytes=1 << 24, preview_rows=1)
    done = runs.run_real(runs.spec("select id from people", Language.SQL, output_policy=policy))

    assert done.failure is FailureWord.OUTPUT_REFUSED
    assert done.outcome.files == ("log.sealed.json",)
