"""All 22 queries of TPC-H as approved SQL jobs on encrypted data give DuckDB's answers on the plaintext.

Each query is a job of its own, and each run the whole path: evidence, both brokers, the sandbox, sealed result, receipt.
"""

import pytest

from tests.tpch.answers import columns_of, differences, duckdb_answer
from tests.tpch.conftest import SCALE_FACTOR
from tests.tpch.queries import QUERIES
from tests.tpch.sealed_tpch import run_query


@pytest.mark.spark
@pytest.mark.parametrize("number", sorted(QUERIES))
def test_tpch_query_as_approved_job_gives_the_answer_of_duckdb(sealed_tpch, tpch_data, number):
    query = QUERIES[number]
    wanted = duckdb_answer(query, tpch_data, scale_factor=SCALE_FACTOR)
    assert differences(query, wanted, run_query(sealed_tpch, query, scale_factor=SCALE_FACTOR).rows) == ""


def test_difference_of_answers_sees_a_changed_value_an_order_and_a_missing_row():
    query = QUERIES[1]
    rows = [("A", "F", 1.0), ("N", "O", 2.0)]
    assert differences(query, rows, rows) == ""
    assert differences(query, rows, [("A", "F", 1.0), ("N", "O", 2.0 + 1e-9)]) == ""
    assert "instead of" in differences(query, rows, [("A", "F", 1.0), ("N", "O", 2.001)])
    assert "out of order" in differences(query, rows, rows[::-1])
    assert "1 rows" in differences(query, rows, rows[:1])


def test_columns_of_a_query_are_those_that_it_names():
    assert columns_of(QUERIES[6], ["l_shipdate", "l_comment", "l_tax"]) == ("l_shipdate",)
