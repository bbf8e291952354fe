"""Inside the sandbox: an engine with keys of one data set, and every way in which a file can be not what it should be."""

import base64
import json
import os
import traceback
from pathlib import Path

from opaque_jobs.enclave.agent.engine import Engine, EngineError, EngineSettings
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.run_log import RunLog

KEYS = {name: base64.b64decode(value) for name, value in json.loads(Path("/data/all/keys.json").read_text()).items()}
RESULT_KEY = bytes(range(32))


def attempt(function):
    try:
        return ["done", function()]
    except EngineError as error:
        return ["refused", " <- ".join(error.causes) + ": " + error.message]


def rows(engine, path):
    return int(engine._session.read().parquet(str(path)).count())


def total(engine, path, column):
    functions = engine._jvm.org.apache.spark.sql.functions
    return int(
        engine._session.read()
        .parquet(str(path))
        .agg(functions.sum(column), engine._gateway.new_array(engine._jvm.org.apache.spark.sql.Column, 0))
        .head()
        .get(0)
    )


def read(engine, name, column="id"):
    def go():
        engine.schema(Path(f"/data/all/{name}"))
        return engine._try(lambda: total(engine, f"/data/all/{name}", column))

    return attempt(go)


def main():
    write_udf_launcher()
    log = RunLog(verbose=True)
    engine = Engine.start(EngineSettings(heap_bytes=1 << 30, cores=2, conf={}), output=log.pipe())
    report = {"before_freeze_other_key": None}
    names = [path.name for path in Path("/data/all").glob("*.parquet")]
    for name in names:
        # every file is expected to be part-00000 of version 1, but the one named for what it is
        part = "part-00001.parquet" if name == "part-00001.parquet" else "part-00000.parquet"
        if name != "unlisted.parquet":
            engine.allow_file(Path(f"/data/all/{name}"), dataset_id="ds-a", version=1, part=part)
    engine.add_key(dataset_id="ds-a", version=1, column=None, key=KEYS["footer"])
    engine.add_key(dataset_id="ds-a", version=1, column="id", key=KEYS["id"])
    engine.set_result(run_id="run-1", key=RESULT_KEY, max_bytes=1 << 20)
    report["before_freeze_write"] = attempt(lambda: str(engine.write(engine._session.range(3).toDF())))
    engine.freeze_keys()
    report["after_freeze_key"] = attempt(
        lambda: engine._try(lambda: engine.add_key(dataset_id="ds-a", version=1, column="hidden", key=KEYS["id"]))
    )
    for name in names:
        report[name] = read(engine, name)
    report["hidden_column"] = read(engine, "part-00000.parquet", "hidden")
    written = attempt(lambda: str(engine.write(engine._session.range(3).toDF())))
    report["write_result"] = written
    report["read_own_result"] = attempt(lambda: engine._try(lambda: rows(engine, written[1])))
    report["registry"] = sorted(
        each.rpartition(".")[2]
        for each in str(engine._session.sessionState().functionRegistry().listFunction().mkString(" ")).split()
    )
    report["path_table"] = attempt(lambda: engine.sql("select * from parquet.`/data/all/part-00000.parquet`") and None)
    report["canary_files"] = [
        str(path) for path in Path("/scratch").rglob("*") if path.is_file() and b"canary" in path.read_bytes()[: 1 << 20]
    ]
    process = Path(f"/proc/{engine._process.pid}")
    told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    conf = str(engine._session.sparkContext().conf().toDebugString())
    encoded = [each for key in KEYS.values() for each in (key, key.hex().encode(), base64.b64encode(key))]
    report["key_in_conf_argv_environment"] = any(each in told + conf.encode() for each in encoded)
    return report


try:
    Path("/out/report.json").write_text(json.dumps(main(), default=str))
except BaseException:  # noqa: BLE001 - the report must tell
    Path("/out/error.txt").write_text(traceback.format_exc())
os._exit(0)
