"""Makes templates on disk for tests, and runs the built-in ones' test cases."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["column"],
    "properties": {
        "column": {"type": "string", "x-column-of": "people"},
        "least": {"type": "integer", "minimum": 1, "default": 3},
    },
}
QUERY = "SELECT column_of(column) AS value, COUNT(*) AS n FROM people GROUP BY column_of(column) HAVING COUNT(*) >= :least"


def document(**over: Any) -> dict[str, Any]:
    fields = {
        "v": 1,
        "name": "counting",
        "version": "1.0.0",
        "title": "Counting",
        "description": "Counts.",
        "language": "sql",
        "datasets": [{"name": "people", "description": "People"}],
        "parameters": PARAMETERS,
        "output_policy": {"max_rows": 10, "max_columns": 2, "max_bytes": 1000000, "preview_rows": 10, "log": "words"},
    }
    return {name: value for name, value in (fields | over).items() if value is not None}


def make_template(folder: Path, *, logic: str = QUERY, logic_name: str = "query.sql", **over: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "template.json").write_text(json.dumps(document(**over)))
    (folder / logic_name).write_text(logic)
    return folder


def as_table(data: Mapping[str, Any]) -> pa.Table:
    schema = pa.schema([(column["name"], pa.type_for_alias(column["type"])) for column in data["columns"]])
    rows: Sequence[Sequence[Any]] = data["rows"]
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)]
    return pa.table(columns, schema=schema)


def as_rows(table: pa.Table) -> tuple[list[str], list[list[Any]]]:
    return table.column_names, [list(row.values()) for row in table.to_pylist()]
