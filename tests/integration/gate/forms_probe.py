"""Inside the sandbox: parses each line of SQL with the engine and judges it by the gate's rules."""

import json
import os
import traceback
from pathlib import Path

from opaque_jobs.enclave.agent.engine import Engine, EngineError, EngineSettings
from opaque_jobs.enclave.agent.functions import FUNCTIONS, INTERNAL_FUNCTIONS, REFUSED_FUNCTIONS, TABLE_FUNCTIONS
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.run_log import RunLog
from opaque_jobs.enclave.agent.sql_rules import Names, RefusedError, check_outline


def judged(engine: Engine, text: str) -> str:
    try:
        check_outline(engine.outline(text, True), Names(("t", "u")), statement=True)
    except RefusedError as refusal:
        return str(refusal)
    except EngineError as error:
        return error.message
    return ""


def unlisted(engine: Engine) -> list[str]:
    """Functions of this Spark that are on no list of ours."""
    registry = str(engine._session.sessionState().functionRegistry().listFunction().mkString("\n"))
    names = {line.rpartition(".")[2] for line in registry.split("\n")}
    return sorted(names - FUNCTIONS - INTERNAL_FUNCTIONS - REFUSED_FUNCTIONS - TABLE_FUNCTIONS - {"", "/"})


try:
    write_udf_launcher()
    log = RunLog(verbose=True)
    engine = Engine.start(EngineSettings(heap_bytes=1 << 30, cores=2, conf={}), output=log.pipe())
    forms = Path("/data/all/sql_forms.sql").read_text().splitlines()
    report = {"forms": {text: judged(engine, text) for text in forms}, "unlisted": unlisted(engine)}
    Path("/out/report.json").write_text(json.dumps(report))
except BaseException:  # noqa: BLE001 - the report must tell
    Path("/out/error.txt").write_text(traceback.format_exc())
os._exit(0)
