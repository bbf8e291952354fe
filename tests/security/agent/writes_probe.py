"""Inside the sandbox: an engine whose author got past the filter and the plan wall, and every command by which Spark writes."""

import json
import os
import traceback
from pathlib import Path

from py4j.protocol import Py4JJavaError

from opaque_jobs.enclave.agent.engine import Engine, EngineError, EngineSettings
from opaque_jobs.enclave.agent.nesting import write_udf_launcher
from opaque_jobs.enclave.agent.output import made_files
from opaque_jobs.enclave.agent.places import RESULT
from opaque_jobs.enclave.agent.run_log import RunLog
from opaque_jobs.errors import DeniedError

PLACES = ("/out/x", "/scratch/result/x", "/scratch/engine/x", "/scratch/gate/x", "/scratch/udf/sockets/x", "/tmp/x")  # noqa: S108
FORMS = ("csv", "json", "text", "orc", "parquet")
MODES = ("append", "overwrite", "ignore", "errorifexists")
NAMES = ("bash", "cat", "chmod", "cp", "dash", "env", "ln", "ls", "mount", "perl", "ps", "rm", "setsid", "sh", "stat")
OTHER_FILES = "org.apache.hadoop.fs.LocalFileSystem"


def attempt(function):
    try:
        function()
    except EngineError as error:
        return ["refused", " <- ".join(error.causes)]
    except DeniedError as error:
        return ["denied", error.message]
    return ["done", ""]


def listing():
    """All files with content of the places that the engine can see, but its own working files."""
    found = []
    for top in ("/out", "/scratch", "/tmp"):  # noqa: S108
        for path in Path(top).rglob("*"):
            try:
                if path.is_file() and b"canary" in path.read_bytes():
                    found.append(str(path))
            except OSError:
                continue
    return found


def frame(engine):
    return engine._session.sql("select 'canary' as a union all select 'canary' as a")


def writes(engine):
    """Yield (name, attack) of every form, place and mode, by the frame's writer and by SQL."""
    for place in PLACES:
        for form in FORMS:
            yield f"writer {form} {place}", lambda f=form, p=place: frame(engine).write().format(f).save(f"{p}-{f}")
            text = f"insert overwrite directory '{place}-dir-{form}' using {form} select 'canary' as a"
            yield f"sql {form} {place}", lambda t=text: engine._session.sql(t)
    for mode in MODES:
        yield f"mode {mode}", lambda m=mode: frame(engine).write().mode(m).csv(f"/out/mode-{m}")
    yield "partitions", lambda: frame(engine).write().partitionBy(array(engine, "a")).csv("/out/partitions")
    yield "table", lambda: frame(engine).write().saveAsTable("taken")
    yield "external table", lambda: engine._session.sql("create table t using csv location '/out/t' as select 'canary' a")
    options = f"options ('fs.file.impl' '{OTHER_FILES}', 'fs.file.impl.disable.cache' 'true')"
    for place in PLACES:
        text = f"insert overwrite directory '{place}-options' using csv {options} select 'canary' as a"
        yield f"options {place}", lambda t=text: engine._session.sql(t)


def array(engine, *values):
    made = engine._gateway.new_array(engine._jvm.java.lang.String, len(values))
    for place, value in enumerate(values):
        made[place] = value
    return made


def java_write(engine, path):
    """What injected Java could do without Hadoop."""
    return engine._try(lambda: engine._jvm.java.io.FileOutputStream(path).close())


def executables():
    """All that has the mode of a program, libraries aside."""
    for top in ("/usr", "/opt", "/etc", "/scratch"):
        for path in Path(top).rglob("*"):
            if path.is_file() and not path.is_symlink() and os.access(path, os.X_OK) and ".so" not in path.name:
                yield str(path)


def starts(engine, program):
    """Whether the engine can start a program."""
    command = engine._jvm.java.util.ArrayList()
    command.add(program)
    command.add("--version")
    try:
        engine._jvm.java.lang.ProcessBuilder(command).start().destroy()
    except Py4JJavaError:
        return False
    return True


def main():
    write_udf_launcher()
    Path("/scratch/gate").mkdir()
    log = RunLog(verbose=True)
    no_plan_wall = {"spark.sql.extensions": ""}  # what it lets through is what this is about
    engine = Engine.start(EngineSettings(heap_bytes=1 << 30, cores=2, conf=no_plan_wall), output=log.pipe())
    engine.set_result(run_id="run-1", key=bytes(32), max_bytes=100_000)
    engine.freeze_keys()
    report = {"attacks": {name: attempt(lambda a=attack: engine._try(a)) for name, attack in writes(engine)}}
    report["left"] = listing()
    agent, udf = f"/proc/{os.getpid()}/root", "/scratch/udf/python3"
    places = ("/out/java", "/scratch/result/java", "/scratch/gate/java", udf, f"{agent}/out/java", f"{agent}/scratch/gate/java")
    report["java"] = {path: attempt(lambda p=path: java_write(engine, p)) for path in places}
    named = [f"{folder}{name}" for folder in ("", "/bin/", "/usr/bin/") for name in NAMES]
    report["programs"] = [program for program in (*executables(), *named) if starts(engine, program)]
    # while the agent has the result written, other forms and places stay shut
    RESULT.chmod(0o700)
    engine._jvm.opaquejobs.KeyTable.openResult(True)
    report["open"] = {name: attempt(lambda a=attack: engine._try(a)) for name, attack in writes(engine) if "parquet" not in name}
    report["open_left"] = listing()
    engine._jvm.opaquejobs.KeyTable.openResult(False)
    (RESULT / "beside").write_text("as if the engine had found a way")
    report["beside"] = attempt(lambda: made_files(engine.write(frame(engine))))
    for path in sorted(RESULT.rglob("*"), reverse=True):
        RESULT.chmod(0o700)
        path.rmdir() if path.is_dir() else path.unlink()
    report["sound"] = attempt(lambda: made_files(engine.write(frame(engine))))
    for path in sorted(RESULT.rglob("*"), reverse=True):
        RESULT.chmod(0o700)
        path.rmdir() if path.is_dir() else path.unlink()
    large = "select sha2(cast(id as string), 512) s from range(10000)"
    report["large"] = attempt(lambda: engine.write(engine._session.sql(large)))
    return report


try:
    Path("/out/report.json").write_text(json.dumps(main(), default=str))
except BaseException:  # noqa: BLE001 - the report must tell
    Path("/out/error.txt").write_text(traceback.format_exc())
os._exit(0)
