"""Starts the author's Python beside the agent, in a nested sandbox with the gate's socket and nothing else."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opaque_jobs.enclave.agent.engine import SESSION_ID, USER_ID
from opaque_jobs.enclave.agent.nesting import nested_command
from opaque_jobs.enclave.agent.places import AGENT_CODE, AUTHOR_FILTER, GATE, PYTHON
from opaque_jobs.enclave.agent.run_log import RunLog

__all__ = ["RESULT_VIEW", "AuthorProcess", "AuthorReport", "gate_socket"]

RESULT_VIEW: Final = "opaque_jobs_result"
_MAIN: Final = AGENT_CODE / "opaque_jobs/enclave/agent/author_main.py"
_REPORT_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorReport:
    """What the author's process says of itself; not trusted.

    Args:
        error: Class name of what was raised; empty on success.
        condition: Spark's error condition, or empty.
        line: Line of the code, or 0.
    """

    error: str
    condition: str
    line: int


class AuthorProcess:
    """The author's process. It may be started before the engine is there: it waits for the gate's socket.

    Args:
        code: Exactly the approved text.
        datasets: Names under which data sets are known.
        params: Effective input values.
        datetimes: Names of those that are points in time.
        log: Takes what it prints.
    """

    def __init__(
        self, code: str, *, datasets: Sequence[str], params: Mapping[str, Any], datetimes: Sequence[str], log: RunLog
    ) -> None:
        setting = {
            "session_id": SESSION_ID,
            "user_id": USER_ID,
            "socket": "/gate/gate.sock",
            "datasets": list(datasets),
            "params": dict(params),
            "datetimes": list(datetimes),
            "result": RESULT_VIEW,
        }
        gate_socket()
        self._report, writing = os.pipe()
        code_fd, setting_fd = _memory("job.py", code.encode()), _memory("run.json", json.dumps(setting).encode())
        filter_fd = os.open(AUTHOR_FILTER, os.O_RDONLY)
        binds = [
            "--ro-bind", str(GATE), "/gate", "--ro-bind", str(_MAIN), "/author/main.py",
            "--ro-bind-data", str(code_fd), "/author/job.py", "--ro-bind-data", str(setting_fd), "/author/run.json",
        ]  # fmt: skip
        command = nested_command(filter_fd=filter_fd, binds=binds, environment={})
        output = log.pipe(authors=True)
        passed = (writing, code_fd, setting_fd, filter_fd)
        self._process = subprocess.Popen(
            [*command, str(PYTHON), "/author/main.py", str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={},
            pass_fds=passed,
        )
        for descriptor in passed:
            os.close(descriptor)
        output.close()

    def report(self) -> AuthorReport:
        """Wait for its end and give what it says."""
        report = _read_report(self._report)
        self._process.wait()
        return report


def _memory(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _read_report(descriptor: int) -> AuthorReport:
    """Read the untrusted report; anything but a sound one is a failure."""
    with os.fdopen(descriptor, "rb") as source:
        data = source.read(_REPORT_LIMIT)
    try:
        document = json.loads(data)
        error, condition, line = document["error"], document["condition"], document["line"]
    except (ValueError, KeyError, TypeError):
        error, condition, line = "SystemExit", "", 0
    if not (isinstance(error, str) and isinstance(condition, str) and type(line) is int):
        error, condition, line = "SystemExit", "", 0
    return AuthorReport(error=error[:100], condition=condition[:200], line=line)


def gate_socket() -> Path:
    """Make the folder for the gate's socket and give the socket's path."""
    GATE.mkdir(parents=True, exist_ok=True)
    return GATE / "gate.sock"
