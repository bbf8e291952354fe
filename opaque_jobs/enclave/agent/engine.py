"""The engine: a JVM with Spark, started directly, which only the agent speaks to in full.

The agent's own way in is a py4j gateway on loopback with a secret; keys go in there and stay in Java. The author's side is
one isolated Connect session, whose port and token the gate alone knows. Everything that could write plaintext is off, and the
only files that it may make are the result's, in the enclave's own memory, while the agent has it write them.
"""

import json
import secrets
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from py4j.java_gateway import GatewayParameters, JavaGateway
from py4j.protocol import Py4JError, Py4JJavaError

from opaque_jobs.domain.row_rule import RowRule
from opaque_jobs.enclave.agent.functions import REFUSED_FUNCTIONS
from opaque_jobs.enclave.agent.nesting import UDF_DAEMON, engine_wall
from opaque_jobs.enclave.agent.places import ENGINE, JARS, JAVA, RESULT, SITE, UDF_LAUNCHER, UDF_SOCKETS
from opaque_jobs.enclave.agent.row_filter import predicate
from opaque_jobs.errors import SandboxError

__all__ = ["SESSION_ID", "USER_ID", "Engine", "EngineError", "EngineSettings"]

SESSION_ID: Final = "00000000-0000-4000-8000-000000000001"
"""The author's only session; a constant, because the gate admits no other and the JVM lives for one run."""
USER_ID: Final = "author"
_START_S: Final = 120.0
_OPEN: Final = 0o700
_CLOSED: Final = 0o500
_OPENED: Final = """
    java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util java.util.concurrent
    java.util.concurrent.atomic jdk.internal.ref sun.nio.ch sun.nio.cs sun.util.calendar
"""
_LOGGING: Final = ENGINE / "log.properties"
_QUIET: Final = (
    "io.netty.util.internal.MacAddressUtil",  # the sandbox has no network card
    "org.apache.hadoop.util.NativeCodeLoader",  # Hadoop's own libraries are not there: Java's serve
    "org.apache.spark.SparkEnv",  # that pieces of one process speak in clear to each other
    "org.apache.parquet.CorruptStatistics",  # this and the next as in Spark's own settings
    "org.sparkproject.jetty.util.component.AbstractLifeCycle",
)
"""Loggers whose warnings say at each start what is so by design; their errors are kept, and all that others warn of."""
_FLAGS: Final = (
    "-XX:-UsePerfData",  # no hsperfdata files
    "-XX:+DisableAttachMechanism",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-HeapDumpOnOutOfMemoryError",
    "-XX:+SuppressFatalErrorMessage",  # no hs_err files: they hold memory
    "-XX:-CreateCoredumpOnCrash",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Duser.timezone=UTC",
    f"-Djava.io.tmpdir={ENGINE}",
    f"-Dlog4j2.configurationFile={_LOGGING}",  # else Spark says at length that it takes its own
    "-Xlog:aot=error",  # single stubs that the archive does not have are made anew
    "-Xlog:aot+codecache+stubs=error",
)
_MOST_CAUSES: Final = 16
_NO_SPACE: Final = "No space left on device"
_SERIAL_CORES: Final = 2
_CONF: Final = {
    "spark.app.name": "job",
    "spark.ui.enabled": "false",
    "spark.eventLog.enabled": "false",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.warehouse.dir": f"{ENGINE}/warehouse",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.io.encryption.enabled": "true",
    "spark.io.encryption.keySizeBits": "256",
    "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.connect.grpc.binding.port": "0",
    "spark.connect.session.planCompression.threshold": "-1",
    "spark.connect.session.manager.defaultSessionTimeout": "30d",
    "spark.connect.execute.manager.detachedTimeout": "30d",
    "spark.sql.extensions": "opaquejobs.PlanWall$Extension",
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.artifact.isolation.enabled": "false",
    "spark.sql.variable.substitute": "false",  # else ${...} in SQL text reads settings, environment and system properties
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.useV1SourceList": "parquet",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.python.unix.domain.socket.enabled": "true",
    "spark.python.unix.domain.socket.dir": str(UDF_SOCKETS),
    "spark.pyspark.python": str(UDF_LAUNCHER),
    "spark.python.daemon.module": UDF_DAEMON,
    "spark.hadoop.fs.file.impl": "opaquejobs.RunFiles",
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "opaquejobs.None",  # a second way to files, which no job needs
    "spark.hadoop.parquet.crypto.factory.class": "opaquejobs.FileCrypto",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}
_OWNERS: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
}
"""Settings of the session in which data sets are looked at and owners' rules analysed, whatever the author's are."""


class EngineError(Exception):
    """The engine refused or failed while doing what the author's code asked for.

    Args:
        error: What py4j raised.
    """

    def __init__(self, error: Py4JJavaError) -> None:
        super().__init__()
        self._error = error

    @property
    def causes(self) -> list[str]:
        """Class names of the exception and its causes, outermost first."""
        return [str(cause.getClass().getName()) for cause in self._chain()]

    @property
    def out_of_space(self) -> bool:
        """Whether a folder in the enclave's memory was full."""
        return any(str(cause.getMessage()).endswith(_NO_SPACE) for cause in self._chain())

    @property
    def condition(self) -> str:
        """Spark's error condition, such as `UNRESOLVED_COLUMN.WITH_SUGGESTION`; empty if it has none."""
        cause = self._error.java_exception
        try:
            return str(cause.getCondition() or "")
        except Py4JError:
            return ""

    @property
    def message(self) -> str:
        """The whole message: may hold values from data and the owners' row rules."""
        return str(self._error.java_exception.getMessage())

    def _chain(self) -> list[Any]:
        found: list[Any] = []
        cause = self._error.java_exception
        while cause is not None and len(found) < _MOST_CAUSES:
            found.append(cause)
            cause = cause.getCause()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How the engine runs.

    Args:
        heap_bytes: Of the JVM.
        cores: Threads.
        conf: The author's approved settings, already checked.
    """

    heap_bytes: int
    cores: int
    conf: Mapping[str, str]


class Engine:
    """A running engine.

    Args:
        process: The JVM.
        gateway: The agent's way in.
    """

    def __init__(self, process: subprocess.Popen[bytes], gateway: JavaGateway, settings: EngineSettings) -> None:
        self._process = process
        self._gateway = gateway
        self._jvm = gateway.jvm
        self.token: Final = secrets.token_hex(32)
        builder = self._jvm.org.apache.spark.sql.classic.SparkSession.builder()
        partitions = {"spark.sql.shuffle.partitions": str(4 * settings.cores), "spark.master": f"local[{settings.cores}]"}
        for key, value in {**_CONF, **partitions, **settings.conf, "spark.connect.authenticate.token": self.token}.items():
            builder.config(key, value)
        builder.getOrCreate()
        self._calls = self._jvm.opaquejobs.EngineCalls
        self._calls.forget(set(REFUSED_FUNCTIONS))
        service = _module(self._jvm.org.apache.spark.sql.connect.service, "SparkConnectService")
        self.port: Final = int(service.localPort())
        self._session = service.getOrCreateIsolatedSession(USER_ID, SESSION_ID, _module(self._jvm.scala, "None")).session()
        self._owners = self._session.newSession()
        for key, value in _OWNERS.items():
            self._owners.conf().set(key, value)

    @classmethod
    def start(cls, settings: EngineSettings, *, output: IO[bytes], more_flags: Sequence[str] = ()) -> Self:
        """Start the JVM and Spark in it.

        Args:
            settings: How it runs.
            output: Takes what the JVM prints.
            more_flags: More options of the JVM.

        Raises:
            SandboxError: It did not start.
        """
        for folder in (UDF_SOCKETS, ENGINE, RESULT):
            folder.mkdir(parents=True, exist_ok=True)
        RESULT.chmod(_CLOSED)
        _LOGGING.write_text(_log_settings())
        contact = ENGINE / "contact"
        process = subprocess.Popen(
            _command(settings, more_flags),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={
                "HOME": "/tmp",  # noqa: S108 - the enclave's own tmpfs
                "LANG": "C.UTF-8",
                "PATH": "/usr/bin",
                "PYSPARK_DRIVER_PYTHON": "/none",  # else Spark starts Python once to look for data sources written in it
                "PYSPARK_PYTHON": str(UDF_LAUNCHER),
                "SPARK_LOCAL_DIRS": str(ENGINE),  # the setting of that name would be warned about
                "SPARK_LOCAL_IP": "127.0.0.1",
                "_PYSPARK_DRIVER_CONN_INFO_PATH": str(contact),
            },
            cwd=ENGINE,
        )
        try:
            port, secret = _contact(contact, process)
            parameters = GatewayParameters(port=port, auth_token=secret, auto_convert=True)
            return cls(process, JavaGateway(gateway_parameters=parameters), settings)
        except (Py4JError, OSError) as error:
            process.kill()
            raise SandboxError("the engine did not start", hint="give the job more memory") from error

    def allow_file(self, path: Path, *, dataset_id: str, version: int, part: str) -> None:
        """Name a file that may be read, and what it has to be."""
        self._jvm.opaquejobs.KeyTable.addFile(str(path), dataset_id, version, part)

    def add_key(self, *, dataset_id: str, version: int, column: str | None, key: bytes) -> None:
        """Give the engine the key of a column, or of the footer for None."""
        self._jvm.opaquejobs.KeyTable.addKey(dataset_id, version, column, key)

    def allow_plaintext(self, root: Path) -> None:
        """Test runs only: let files below a folder be plaintext."""
        self._jvm.opaquejobs.KeyTable.allowPlaintext(f"{root}/")

    def set_result(self, *, run_id: str, key: bytes | None, max_bytes: int) -> None:
        """Say what the result is encrypted with, None in test runs only, and how many bytes it may have."""
        self._jvm.opaquejobs.KeyTable.setResult(f"{RESULT}/", run_id, key, max_bytes)

    def freeze_keys(self) -> None:
        """Close the key table; until then nothing can be read or written."""
        self._jvm.opaquejobs.KeyTable.freeze()

    def schema(self, path: Path) -> dict[str, Any]:
        """Give a file's schema in Spark's JSON form.

        Raises:
            EngineError: It is not what it has to be.
        """
        return dict(json.loads(self._try(lambda: self._calls.schema(self._owners, str(path)))))

    def define(
        self, name: str, folder: Path, *, schema: dict[str, Any], columns: Sequence[tuple[str, str, Any]],
        rule: RowRule | None = None, physical: Mapping[str, str],
    ) -> None:  # fmt: skip
        """Make a data set known to the author's session by name, with approved columns and rows only.

        A temporary view keeps the analysed plan, and Spark resolves no column below a view, so what is cut off here stays
        out of reach. All of it is analysed in a session of the owners', which the author's settings do not reach. With a row
        rule an expression that Spark neither folds nor moves filters past them: author's predicates and functions see no row
        that the owner holds back.

        Args:
            name: Alias.
            folder: Its files.
            schema: Of the files, in Spark's JSON form.
            columns: Physical name, logical name, and the logical type's JSON if names inside it differ (else None).
            rule: The owner's row rule.
            physical: Logical name -> physical name, of the rule's columns too.
        """
        functions = self._jvm.org.apache.spark.sql.functions
        types = self._jvm.org.apache.spark.sql.types.DataType
        frame = self._owners.read().schema(types.fromJson(json.dumps(schema))).parquet(str(folder))
        if rule is not None:
            kinds = {field["name"]: field["type"] for field in schema["fields"]}
            known = {logical: (functions.col(_quoted(stored)), kinds[stored]) for logical, stored in physical.items()}
            frame = frame.filter(predicate(self._jvm, rule, known))
            frame = frame.filter(functions.spark_partition_id().geq(functions.lit(0)))
        chosen = self._gateway.new_array(self._jvm.org.apache.spark.sql.Column, len(columns))
        for place, (stored, logical, inner) in enumerate(columns):
            column = functions.col(_quoted(stored))
            chosen[place] = (column if inner is None else column.cast(types.fromJson(json.dumps(inner)))).alias(logical)
        self._calls.moved(frame.select(chosen), self._session).createOrReplaceTempView(name)

    def alias(self, name: str, of: str) -> None:
        """Let a second name stand for a data set."""
        self._session.table(of).createOrReplaceTempView(name)

    def outline(self, text: str, statement: bool) -> Any:
        """Parse SQL with the author's session's parser, and give the plan's outline.

        Raises:
            EngineError: It does not parse.
        """
        return json.loads(self._try(lambda: self._calls.outline(self._session, text, statement)))

    def sql(self, text: str) -> Any:
        """Run a statement in the author's session; it must have been judged.

        Raises:
            EngineError: The engine refuses it.
        """
        return self._try(lambda: self._session.sql(text))

    def view(self, name: str) -> Any:
        """Give a view of the author's session.

        Raises:
            EngineError: There is none by that name.
        """
        return self._try(lambda: self._session.table(name))

    def frame_schema(self, frame: Any) -> dict[str, Any]:
        """Return a frame's schema in Spark's JSON form.

        Raises:
            EngineError: The frame does not resolve.
        """
        return dict(json.loads(self._try(lambda: frame.schema().json())))

    def shaped(self, frame: Any, schema: Mapping[str, Any]) -> Any:
        """Return a frame under a schema's names, with nothing attached to its columns.

        Raises:
            EngineError: Two of its columns have one name.
        """
        return self._try(lambda: self._calls.shaped(frame, json.dumps(schema)))

    def column_count(self, frame: Any) -> int:
        """Give the number of a frame's top-level columns."""
        return len(self._try(frame.columns))

    def write(self, frame: Any) -> Path:
        """Write a frame as Parquet, encrypted by the key table, into a new folder of the result's, whose path is returned.

        The result's folder is open for this long only.

        Raises:
            EngineError: Computing or writing it failed.
        """
        folder = RESULT / secrets.token_hex(8)
        table = self._jvm.opaquejobs.KeyTable
        RESULT.chmod(_OPEN)
        table.openResult(True)
        try:
            self._try(lambda: self._calls.write(frame, str(folder)))
        finally:
            table.openResult(False)
            RESULT.chmod(_CLOSED)
        return folder

    def exit(self) -> None:
        """Let the JVM end in an orderly way, so that it can write its archive of classes."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with a pipe
        self._process.stdin.close()
        self._process.wait()

    def _try(self, call: Any) -> Any:
        try:
            return call()
        except Py4JJavaError as error:
            raise EngineError(error) from None


def _module(package: Any, name: str) -> Any:
    """Give a Scala object."""
    return getattr(getattr(package, name + "$"), "MODULE$")


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _log_settings() -> str:
    """Give log4j's settings: warnings go to the log of a test run, in Spark's own form."""
    quiet = [f"logger.{n}.name = {name}\nlogger.{n}.level = error" for n, name in enumerate(_QUIET)]
    return "\n".join(
        [
            "rootLogger.level = warn",
            "rootLogger.appenderRef.console.ref = console",
            "appender.console.type = Console",
            "appender.console.name = console",
            "appender.console.target = SYSTEM_ERR",
            "appender.console.layout.type = PatternLayout",
            "appender.console.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex",
            *quiet,
            "",
        ]
    )


def _command(settings: EngineSettings, more_flags: Sequence[str]) -> list[str]:
    archive = JARS / "engine.aot"
    jars = [*sorted(JARS.glob("*.jar")), *sorted((SITE / "pyspark/jars").glob("*.jar"))]
    return [
        *engine_wall(),
        str(JAVA),
        f"-Xmx{settings.heap_bytes}",
        "-XX:+UseSerialGC" if settings.cores <= _SERIAL_CORES else "-XX:+UseParallelGC",
        *_FLAGS,
        *more_flags,
        *([f"-XX:AOTCache={archive}"] if archive.exists() else []),
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED.split()),
        "-cp",
        ":".join(map(str, jars)),
        "org.apache.spark.api.python.PythonGatewayServer",
    ]


def _contact(path: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for the port and secret that the gateway leaves for us in our scratch."""
    deadline = time.monotonic() + _START_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError("no gateway")
        time.sleep(0.01)
    data = path.read_bytes()
    path.unlink()
    port, length = struct.unpack_from(">ii", data)
    return port, data[8 : 8 + length].decode("ascii")
