"""The log of a test run: what the job printed, without what the engine says at each start."""

import pyarrow as pa
import pytest

from opaque_jobs.domain.job import Language
from opaque_jobs.protocol.enclave import FailureWord

pytestmark = pytest.mark.spark

PEOPLE = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", "c"]})
PRINTS = """
from pyspark.sql import functions as F
def main(spark, inputs, params):
    print('rows:', inputs['people'].count())
    return inputs['people'].withColumn('longer', F.udf(lambda text: text * 2, 'string')('name'))
"""


@pytest.fixture
def staged(runs):
    runs.add(runs.world.hospital, "people", PEOPLE)
    return runs


@pytest.mark.parametrize(
    ("language", "code", "log"),
    [(Language.PYTHON, PRINTS, "rows: 3\ndone\n"), (Language.SQL, "select id from people", "done\n")],
    ids=["python", "sql"],
)
def test_log_of_a_test_run_is_what_its_job_printed_and_nothing_of_the_engines_start(staged, language, code, log):
    done = staged.run_test(staged.spec(code, language), {"people": PEOPLE})
    assert done.failure is None
    assert done.test_log == log


FAILS = """
def main(spark, inputs, params):
    print("so far so good")
    return inputs["people"].select("nobody").count() / 0
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (FAILS, ["so far so good", "Traceback", 'File "job.py", line 4, in main', "`nobody`", "at line 4: return inputs"]),
        ("def main(spark, inputs, params):\n    return (1,\n", ['File "job.py", line 2', "SyntaxError: '(' was never closed"]),
    ],
    ids=["raised", "syntax"],
)
def test_log_of_a_test_run_has_pythons_message_and_its_line_after_what_was_printed(staged, code, said):
    done = staged.run_test(staged.spec(code, Language.PYTHON), {"people": PEOPLE})

    assert done.failure is FailureWord.AUTHOR_ERROR
    places = [done.test_log.index(each) for each in said]
    assert places == sorted(places)
    assert "/author/main.py" not in done.test_log


def test_log_of_a_test_run_that_failed_still_says_all_about_it(staged):
    done = staged.run_test(staged.spec("select nobody from people", Language.SQL), {"people": PEOPLE})
    assert done.failure is FailureWord.AUTHOR_ERROR
    assert done.test_log.startswith("the code failed: ")
    assert "nobody" in done.test_log
