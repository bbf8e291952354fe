"""Runs the author's Python in a process of its own. Nothing of ours is importable here, and nothing here is trusted.

Arguments: the descriptor for the report. The code is /author/job.py; what it gets is /author/run.json. The result is handed
over as a temporary view of the session, through the gate.
"""

import json
import linecache
import logging
import os
import sys
import time
import traceback
import types
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any


def connect(session_id: str, user_id: str, socket: str) -> Any:
    """Open the session through the gate."""
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    from pyspark.sql.connect.client import core  # noqa: PLC0415 - the environment comes first
    from pyspark.sql.connect.session import SparkSession  # noqa: PLC0415 - the environment comes first

    class Builder(core.ChannelBuilder):  # type: ignore[misc]
        host = "gate"

        def toChannel(self) -> Any:  # noqa: N802 - PySpark's name
            return self._insecure_channel(f"unix:{socket}")

    while not Path(socket).exists():
        time.sleep(0.01)
    spark = SparkSession.builder.channelBuilder(Builder(params={"session_id": session_id, "user_id": user_id})).getOrCreate()
    warnings.resetwarnings()
    return spark


def as_frame(spark: Any, result: Any) -> Any:
    """Give a result as a frame of the session; pandas and Arrow tables are taken too."""
    if hasattr(result, "createOrReplaceTempView"):
        return result
    if type(result).__module__.partition(".")[0] in {"pandas", "pyarrow"}:
        return spark.createDataFrame(result)
    raise TypeError("main() must give back a DataFrame (of Spark, pandas or Arrow)")


def run(code: str, setting: dict[str, Any]) -> None:
    """Run the code and hand over its result."""
    spark = connect(setting["session_id"], setting["user_id"], setting["socket"])
    moments = set(setting["datetimes"])
    params = {name: datetime.fromisoformat(value) if name in moments else value for name, value in setting["params"].items()}
    inputs = {name: spark.table(name) for name in setting["datasets"]}
    module = types.ModuleType("__main__")
    module.__dict__.update(spark=spark, inputs=inputs, params=params)
    sys.modules["__main__"] = module
    linecache.cache["job.py"] = (len(code), None, code.splitlines(keepends=True), "job.py")
    exec(compile(code, "job.py", "exec"), module.__dict__)  # noqa: S102 - this is what the process is for
    main = module.__dict__.get("main")
    if callable(main):
        result = main(spark, inputs, params)
    elif "result" in module.__dict__:
        result = module.__dict__["result"]
    else:
        raise NameError("the job has neither main(spark, inputs, params) nor a top-level 'result'")
    as_frame(spark, result).createOrReplaceTempView(setting["result"])


def line_of(error: BaseException) -> int:
    """Give the line of the author's code that was last active; 0 if none."""
    if isinstance(error, SyntaxError) and error.filename == "job.py":
        return error.lineno or 0
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "job.py"]
    return lines[-1] if lines else 0


def print_error(error: BaseException) -> None:
    """Print Python's message with the lines of the author's code, without what this program did before them."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != "job.py":
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def begin(report_fd: int) -> int:
    """Run, report, and give the exit code."""
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)  # else prints come after the traceback
    code = Path("/author/job.py").read_text(encoding="utf-8")
    setting = json.loads(Path("/author/run.json").read_text(encoding="utf-8"))
    report = {"error": "", "condition": "", "line": 0}
    try:
        run(code, setting)
    except BaseException as error:  # noqa: BLE001 - whatever the author's code raises
        sys.stdout.flush()
        print_error(error)
        condition = getattr(error, "getCondition", lambda: None)()
        report = {"error": type(error).__name__, "condition": str(condition or ""), "line": line_of(error)}
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(report_fd, json.dumps(report).encode())
    return 1 if report["error"] else 0


if __name__ == "__main__":
    os._exit(begin(int(sys.argv[1])))
