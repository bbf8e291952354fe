"""Real runs of code that wants its log to carry a value: only a log that all owners approved as full holds what is printed."""

import pyarrow as pa
import pytest

from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import LogKind, OutputPolicy
from opaque_jobs.protocol.enclave import FailureWord
from opaque_jobs.protocol.result_files import LOG_FILE

pytestmark = pytest.mark.spark

CANARY = "canary-5c1e"
PEOPLE = pa.table({"id": [1, 2], "name": ["anna", CANARY]})
FORGED = """
import json, logging, os, sys, warnings
from pyspark.sql import functions as F

def main(spark, inputs, params):
    name = inputs["people"].where("id = 2").collect()[0]["name"]
    print("printed", name)
    sys.stderr.write(f"written {name}" + chr(10))
    warnings.warn(f"warned {name}")
    logging.getLogger().error(f"logged {name}")
    spark.range(1).select(F.udf(lambda _: print(f"in a function {name}"), "string")("id")).collect()
    report = {"error": name, "condition": "CANNOT_OPEN_SOCKET." + name, "line": 3}
    os.write(int(sys.argv[1]), json.dumps(report).encode())  # what the process says of itself, said by the code
    print("printed after", name)
    sys.stdout.flush()
    os._exit(77)
"""
CHAINED = """
def main(spark, inputs, params):
    name = inputs["people"].where("id = 2").collect()[0]["name"]
    kind = type(name, (ValueError,), {"getCondition": lambda self: "CANNOT_OPEN_SOCKET." + name, "__module__": "builtins"})
    print("before")
    try:
        raise kind(name)
    except ValueError as error:
        error.add_note(name)
        raise kind(name) from error
"""
LAST = "the code failed: an exception, at line {}"


@pytest.fixture(scope="module")
def ran(runs):
    runs.add(runs.world.hospital, "people", PEOPLE)

    def run(code: str, kind: LogKind):
        policy = OutputPolicy(max_rows=10, max_columns=5, max_bytes=1 << 20, preview_rows=0, log=kind)
        done = runs.run_real(runs.spec(code, Language.PYTHON, output_policy=policy))
        assert done.failure is FailureWord.AUTHOR_ERROR
        assert done.outcome.files == (LOG_FILE,)
        return runs.opened(done)["log"], (done.out / LOG_FILE).stat().st_size

    return run


def test_log_in_words_carries_no_value_whatever_the_code_tries(ran):
    forged, size = ran(FORGED, LogKind.WORDS)
    chained, same = ran(CHAINED, LogKind.WORDS)

    assert forged == LAST.format("3: from pyspark.sql import functions as F") + "\n"
    assert chained == LAST.format("10: raise kind(name) from error") + "\n"
    assert size == same


def test_log_that_is_full_holds_what_the_code_prints_in_order_and_then_the_agents_words(ran):
    log, _ = ran(CHAINED, LogKind.FULL)

    order = ["before", "Traceback", "raise kind(name)", CANARY, "The above exception", LAST.format("10: raise kind")]
    places = [log.index(each) for each in order]
    assert places == sorted(places)
    assert "/author/main.py" not in log


def test_log_that_is_none_is_empty_and_looks_like_any_other(ran):
    assert ran(CHAINED, LogKind.NONE)[0] == ""
