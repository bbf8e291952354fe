"""Answers of the engine are rebuilt from a list, without Spark."""

import pytest
from pyspark.sql.connect.proto import base_pb2, commands_pb2, relations_pb2

from opaque_jobs.enclave.agent.answers import error_words, rebuilt

ANSWERS = (
    base_pb2.ExecutePlanResponse, base_pb2.AnalyzePlanResponse, base_pb2.ConfigResponse, base_pb2.InterruptResponse,
    base_pb2.ReleaseExecuteResponse,
)  # fmt: skip
PASSED = {
    "ExecutePlanResponse": {
        "session_id", "server_side_session_id", "operation_id", "response_id", "arrow_batch", "schema", "sql_command_result",
        "result_complete",
    },
    "AnalyzePlanResponse": {
        "session_id", "server_side_session_id", "schema", "tree_string", "is_local", "is_streaming", "spark_version", "ddl_parse",
        "persist", "unpersist", "get_storage_level", "json_to_ddl",
    },
    "ConfigResponse": {"session_id", "server_side_session_id", "pairs"},
    "InterruptResponse": {"session_id", "server_side_session_id", "interrupted_ids"},
    "ReleaseExecuteResponse": {"session_id", "server_side_session_id", "operation_id"},
}  # fmt: skip
SPARK_ERROR = "[DIVIDE_BY_ZERO] 1 / 0 in row held-back-row\n+- Filter (site = x)"


def fill(message, field):
    """Set a field to something that is not its default."""
    if field.message_type is not None:
        held = getattr(message, field.name)
        target = held.add() if hasattr(held, "add") else held
        target.SetInParent()
    elif hasattr(getattr(message, field.name), "append"):
        getattr(message, field.name).append("held-back")
    else:
        made = {"str": "held-back", "bytes": b"held-back", "bool": True}.get(type(getattr(message, field.name)).__name__, 7)
        setattr(message, field.name, made)


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_answer_field_passes_only_if_it_is_listed(kind):
    passed = set()
    for field in kind.DESCRIPTOR.fields:
        message = kind()
        fill(message, field)
        if rebuilt(message).ListFields():
            passed.add(field.name)

    assert passed == PASSED[kind.DESCRIPTOR.name]


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_answer_field_that_is_unknown_is_dropped_at_every_depth(kind):
    message = kind.FromString(b"\xfa\x7f\x09held-back")
    if kind is base_pb2.ExecutePlanResponse:
        message.arrow_batch.MergeFromString(b"\xfa\x7f\x09held-back")
        message.schema.struct.fields.add().MergeFromString(b"\xfa\x7f\x09held-back")

    assert b"held-back" not in rebuilt(message).SerializeToString()


def test_answer_rows_schema_and_ids_pass_whole():
    message = base_pb2.ExecutePlanResponse(
        session_id="s", operation_id="o", response_id="r", arrow_batch={"row_count": 3, "data": b"rows", "start_offset": 5}
    )
    message.schema.struct.fields.add(name="id", nullable=True).data_type.long.SetInParent()
    expected = base_pb2.ExecutePlanResponse.FromString(message.SerializeToString())
    message.metrics.metrics.add(name="Scan parquet", execution_metrics={"numOutputRows": {"value": 999}})
    message.observed_metrics.add(name="x")

    assert rebuilt(message) == expected


def test_answer_with_the_relation_of_a_statement_passes():
    relation = relations_pb2.Relation(sql={"query": "select 1"})
    message = base_pb2.ExecutePlanResponse(sql_command_result={"relation": relation})

    assert rebuilt(message).sql_command_result.relation == relation


@pytest.mark.parametrize(
    "result",
    ["checkpoint_command_result", "ml_command_result", "get_resources_command_result", "execution_progress", "extension"],
)
def test_answer_of_another_kind_is_empty(result):
    message = base_pb2.ExecutePlanResponse()
    getattr(message, result).SetInParent()

    assert rebuilt(message) == base_pb2.ExecutePlanResponse()


def test_error_in_the_code_keeps_its_first_line():
    classes = '["org.apache.spark.sql.catalyst.ExtendedAnalysisException", "org.apache.spark.sql.AnalysisException"]'

    assert error_words("[A] no column `x`;\n'Project", {"classes": classes}) == "[A] no column `x`"


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": '["org.apache.spark.SparkArithmeticException"]', "errorClass": "DIVIDE_BY_ZERO"},
        {"classes": "not json", "errorClass": "DIVIDE_BY_ZERO"},
        {"classes": '"org.apache.spark.sql.AnalysisException"', "errorClass": "DIVIDE_BY_ZERO"},
        {"errorClass": "DIVIDE_BY_ZERO"},
        {"errorClass": "held-back-row"},
        {},
    ],
)
def test_error_while_computing_keeps_its_class_and_no_value(metadata):
    words = error_words(SPARK_ERROR, metadata)

    assert "held-back-row" not in words
    assert "site" not in words
    assert words.startswith("[DIVIDE_BY_ZERO] ") is (metadata.get("errorClass") == "DIVIDE_BY_ZERO")


def test_every_result_of_a_statement_is_one_of_the_authors_own_forms():
    assert {each.name for each in base_pb2.ExecutePlanResponse.SqlCommandResult.DESCRIPTOR.fields} == {"relation"}
    assert commands_pb2.SqlCommand.DESCRIPTOR.fields_by_name["input"].message_type.name == "Relation"
