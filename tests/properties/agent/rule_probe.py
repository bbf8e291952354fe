"""Inside the sandbox: one engine, a hostile session, and the ids that each rule keeps of each table."""

import json
import os
import traceback
from pathlib import Path

from opaque_jobs.domain.document import from_json
from opaque_jobs.domain.row_rule import RowGroup, RowTest
from opaque_jobs.enclave.agent.engine import Engine, EngineSettings
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.run_log import RunLog

HOSTILE = {"spark.sql.session.timeZone": "-18:00", "spark.sql.ansi.enabled": "false"}
MORE_HOSTILE = {
    "spark.sql.session.timeZone": "+14:00",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.legacy.timeParserPolicy": "LEGACY",
    "spark.sql.legacy.typeCoercion.datetimeToString.enabled": "true",
    "spark.sql.legacy.literal.pickMinimumPrecision": "false",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.optimizer.inSetConversionThreshold": "2",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "false",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
}


def main():
    write_udf_launcher()
    engine = Engine.start(EngineSettings(heap_bytes=1 << 30, cores=2, conf=HOSTILE), output=RunLog(verbose=True).pipe())
    for key, value in MORE_HOSTILE.items():
        engine._session.conf().set(key, value)
    engine.allow_plaintext(Path("/data"))
    engine.set_result(run_id="run-1", key=None, max_bytes=1 << 20)
    engine.freeze_keys()
    kept: list[list[int]] = []
    for case in json.loads(Path("/data/all/cases.json").read_text()):
        path = Path("/data/all") / case["file"]
        schema = engine.schema(path)
        physical = {field["name"]: field["name"] for field in schema["fields"]}
        for rule in case["rules"]:
            name = f"t{len(kept)}"
            columns = [("id", "id", None)]
            parsed = from_json(RowTest | RowGroup, rule, what="rule")
            engine.define(name, path, schema=schema, columns=columns, rule=parsed, physical=physical)
            kept.append(sorted(int(row.get(0)) for row in engine.sql(f"select id from {name}").collectAsList()))  # noqa: S608
    asked = json.loads(Path("/data/all/queries.json").read_text())
    for name in asked["tables"]:
        path = Path(f"/data/all/{name}.parquet")
        columns = [("id", "id", None), ("x", "x", None)]
        engine.define(name, path, schema=engine.schema(path), columns=columns, physical={})
    return {"kept": kept, "counts": [int(engine.sql(query).head().get(0)) for query in asked["queries"]]}


try:
    Path("/out/report.json").write_text(json.dumps(main()))
except BaseException:  # noqa: BLE001 - the report must tell
    Path("/out/error.txt").write_text(traceback.format_exc())
os._exit(0)
