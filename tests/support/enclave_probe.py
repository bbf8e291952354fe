"""Runs a script of the tests inside the real sandbox, in the agent's place, and brings back what it reports as JSON."""

import json
import socket
from pathlib import Path
from typing import Any

from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Limits, Mount, SandboxSpec


def run_probe(runtime: Runtime, script: Path, *, data: Path, out: Path, timeout_s: float = 300) -> Any:
    """Run a script that writes `/out/report.json`; `data` is seen as `/data/all`.

    Raises:
        AssertionError: It left no report; what it printed to `/out/error.txt` is in the message.
    """
    out.mkdir(parents=True, exist_ok=True)
    mounts = [
        Mount(source=script, target=f"/data/script/{script.name}"),
        *(Mount(source=path, target=f"/data/all/{path.name}") for path in sorted(data.iterdir())),
        Mount(source=out, target="/out", writable=True),
    ]
    spec = SandboxSpec(
        root=runtime.root,
        argv=("/opt/python/bin/python3", f"/data/script/{script.name}"),
        mounts=tuple(mounts),
        limits=Limits(memory_bytes=4 << 30, pids=1024, timeout_s=timeout_s, scratch_bytes=1 << 30),
    )
    running = BubblewrapSandbox().start(spec)
    try:
        running.channel.shutdown(socket.SHUT_WR)
        running.wait(timeout_s)
    finally:
        running.kill()
        running.channel.close()
    report = out / "report.json"
    assert report.exists(), (out / "error.txt").read_text() if (out / "error.txt").exists() else "the probe said nothing"
    return json.loads(report.read_text())
