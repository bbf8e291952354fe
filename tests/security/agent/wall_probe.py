"""Inside the sandbox: what the engine's own wall does with plans that no gate has judged, as if the gate had been passed."""

import json
import os
import traceback
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.enclave.agent.engine import Engine, EngineError, EngineSettings
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.places import SCRATCH
from opaque_jobs.enclave.agent.run_log import RunLog


def attempt(function):
    try:
        function()
    except EngineError as error:
        return [error.causes[0].rpartition(".")[2], error.message]
    return ["done", ""]


def frames(engine):
    """Ways into the engine that are no SQL text."""
    session = engine._session
    people = session.table("people")
    yield "write_csv", lambda: people.write().csv("/out/stolen")
    yield "write_json", lambda: people.write().json("/out/stolen")
    yield (
        "write_text",
        lambda: people.select("name", engine._gateway.new_array(engine._jvm.String, 0)).write().text("/out/stolen"),
    )
    yield "write_orc", lambda: people.write().orc("/out/stolen")
    yield "write_parquet", lambda: people.write().parquet("/out/stolen")
    yield "write_noop", lambda: people.write().format("noop").mode("overwrite").save()
    yield "write_table", lambda: people.write().saveAsTable("stolen")
    yield "read_text", lambda: session.read().text("/etc/passwd").count()
    yield "read_csv", lambda: session.read().csv("/etc/passwd").count()
    yield "read_json", lambda: session.read().json("/etc/passwd").count()
    yield "read_binary", lambda: session.read().format("binaryFile").load("/etc/passwd").count()
    yield "read_orc", lambda: session.read().schema("a int").orc("/data/all").count()
    yield "read_jdbc", lambda: session.read().format("jdbc").option("url", "jdbc:x:y").option("dbtable", "t").load().count()
    yield "read_stream", lambda: session.readStream().format("rate").load().count()
    yield "checkpoint", people.localCheckpoint


def main():
    write_udf_launcher()
    log = RunLog(verbose=True)
    engine = Engine.start(EngineSettings(heap_bytes=1 << 30, cores=2, conf={}), output=log.pipe())
    folder = SCRATCH / "plain" / "people"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", "canary-wall"]}), folder / "part-00000.parquet")
    engine.allow_plaintext(SCRATCH / "plain")
    engine.set_result(run_id="run-1", key=bytes(32), max_bytes=1 << 20)
    engine.freeze_keys()
    schema = engine.schema(folder / "part-00000.parquet")
    engine.define("people", folder, schema=schema, columns=[("id", "id", None), ("name", "name", None)], physical={})
    report = {"refused": {}, "allowed": {}}
    for text in Path("/data/all/wall_refused.sql").read_text().splitlines():
        report["refused"][text] = attempt(lambda text=text: engine.sql(text).collect())
    for name, function in frames(engine):
        report["refused"][name] = attempt(lambda function=function: engine._try(function))
    report["allowed"]["agent's write"] = attempt(lambda: engine.write(engine.sql("select * from people")))
    report["refused"]["after the agent's write"] = attempt(
        lambda: engine.sql("insert overwrite directory '/scratch/result/b' using parquet select 1")
    )
    return report


try:
    Path("/out/report.json").write_text(json.dumps(main()))
except BaseException:  # noqa: BLE001 - the report must tell
    Path("/out/error.txt").write_text(traceback.format_exc())
os._exit(0)
