"""What comes back from the engine, rebuilt from a list: rows, schemas and ids pass, and nothing else.

Spark adds numbers of its own to its answers (rows before a condition, sizes of files, progress of tasks), and texts of its
errors hold values of rows. Owners hide some of these, so a field that is not listed here is dropped, also one that a later
Spark adds.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import Message

__all__ = ["error_words", "rebuilt"]

_PREFIX: Final = "spark.connect."
_IDS: Final = "session_id server_side_session_id"
_FIELDS: Final = {
    name: frozenset(fields.split())
    for name, fields in {
        "ExecutePlanResponse": f"{_IDS} operation_id response_id arrow_batch schema sql_command_result result_complete",
        "ExecutePlanResponse.ArrowBatch": "row_count data start_offset chunk_index num_chunks_in_batch",
        "ExecutePlanResponse.SqlCommandResult": "relation",
        "ExecutePlanResponse.ResultComplete": "",
        "AnalyzePlanResponse": (
            f"{_IDS} schema tree_string is_local is_streaming spark_version ddl_parse persist unpersist get_storage_level "
            "json_to_ddl"
        ),
        "AnalyzePlanResponse.Schema": "schema",
        "AnalyzePlanResponse.TreeString": "tree_string",
        "AnalyzePlanResponse.IsLocal": "is_local",
        "AnalyzePlanResponse.IsStreaming": "is_streaming",
        "AnalyzePlanResponse.SparkVersion": "version",
        "AnalyzePlanResponse.DDLParse": "parsed",
        "AnalyzePlanResponse.Persist": "",
        "AnalyzePlanResponse.Unpersist": "",
        "AnalyzePlanResponse.GetStorageLevel": "storage_level",
        "AnalyzePlanResponse.JsonToDDL": "ddl_string",
        "ConfigResponse": f"{_IDS} pairs",
        "InterruptResponse": f"{_IDS} interrupted_ids",
        "ReleaseExecuteResponse": f"{_IDS} operation_id",
        "KeyValue": "key value",
    }.items()
}
_WHOLE: Final = frozenset({"DataType", "StorageLevel", "Relation"})
"""Passed as they are: types, and the relation that Spark returns for a SQL statement, which is the author's own request."""
_CONDITION: Final = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)?")
_ANALYSIS: Final = "org.apache.spark.sql.AnalysisException"
_LONGEST: Final = 1000


def rebuilt(answer: Message) -> Message:
    """Return an answer with nothing in it but what is listed. The message that is passed in is used up."""
    answer.DiscardUnknownFields()
    stack = [answer]
    while stack:
        message = stack.pop()
        allowed = _FIELDS.get(str(message.DESCRIPTOR.full_name).removeprefix(_PREFIX), frozenset())
        for field, value in message.ListFields():
            if field.name not in allowed:
                message.ClearField(field.name)
            elif field.message_type is not None and field.message_type.full_name.removeprefix(_PREFIX) not in _WHOLE:
                stack.extend([value] if isinstance(value, Message) else value)
    return answer


def error_words(details: str, metadata: Mapping[str, str]) -> str:
    """Return what an author may read of an engine's error in a real run.

    The first line of an error in the author's code, before the plan that Spark prints behind it: names from the code. Of an
    error while computing only its class: its text holds values, also of rows that an owner's condition takes out.

    Args:
        details: The engine's text.
        metadata: Of the engine's `ErrorInfo`.
    """
    try:
        classes = json.loads(metadata.get("classes", "[]"))
    except ValueError:
        classes = []
    if isinstance(classes, list) and _ANALYSIS in classes:
        return details.partition("\n")[0].rstrip(";").strip()[:_LONGEST]
    condition = metadata.get("errorClass", "")
    said = f"[{condition}] " if _CONDITION.fullmatch(condition) else ""
    return f"{said}the engine failed while it computed; a real run does not say with which values, a test run does"
