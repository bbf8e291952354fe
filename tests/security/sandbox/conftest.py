"""Runs probes inside the sandbox, started by root and by an ordinary user."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]
ORDINARY = 54321
GENEROUS = {"memory_bytes": 1 << 30, "pids": 200, "timeout_s": 30.0, "scratch_bytes": 64 << 20}
AS_ORDINARY_USER = """
set -e
mount -t tmpfs -o mode=755 staging /mnt
for pair in "$@"; do
  [ "$pair" = -- ] && break
  mkdir -p "/mnt/${pair%%=*}"
  mount --bind "${pair#*=}" "/mnt/${pair%%=*}"
  shift
done
shift
exec setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all --bounding-set=-all env -i \
  PATH="/mnt/shim:/usr/bin:/bin" LD_LIBRARY_PATH=/mnt/tree/usr/lib PYTHONHOME=/mnt/tree/opt/python \
  PYTHONPATH=/mnt/project:/mnt/site PYTHONDONTWRITEBYTECODE=1 CANARY=of-the-host "$@"
"""
SHIM = """#!/bin/sh
exec env -i LD_LIBRARY_PATH=/mnt/tree/usr/lib PYTHONHOME=/mnt/tree/opt/python /mnt/tree/opt/python/bin/python3 -I -S -B -c '
import os
without = {without!r}
arguments = os.read(4, 1 << 20).split(b"\\0")[:-1]
for remove, put in without:
    at = next(i for i in range(len(arguments)) if arguments[i:i + len(remove)] == remove)
    arguments[at:at + len(remove)] = put
memory = os.memfd_create("arguments")
os.write(memory, b"".join(one + b"\\0" for one in arguments))
os.lseek(memory, 0, os.SEEK_SET)
os.dup2(memory, 4, inheritable=True)
import sys
os.execve("/usr/bin/bwrap", ["bwrap", *sys.argv[1:]], dict())
' "$@"
"""


@dataclass(kw_only=True)
class Seen:
    """What a probe saw."""

    ending: str
    mode: str
    heard: Any


@dataclass(kw_only=True)
class Prober:
    """Runs a probe as one kind of user."""

    tree: Path
    ordinary: bool
    folder: Path
    mounts: list[tuple[str, str, bool]] = field(default_factory=list)

    def __call__(self, code: str, *, without: list[tuple[list[str], list[str]]] | None = None, **limits: float) -> Seen:
        plan = {"code": code, "limits": {**GENEROUS, **limits}, "mounts": self.mounts, "root": str(self.tree)}
        command = [sys.executable, str(HERE / "probe_runner.py")]
        env = {**os.environ, "PYTHONPATH": str(PROJECT), "CANARY": "of-the-host"}
        if self.ordinary and os.geteuid() == 0:
            command, plan = self._as_ordinary(plan, without or [])
        done = subprocess.run(command, input=json.dumps(plan).encode(), capture_output=True, timeout=90, check=False, env=env)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return Seen(**json.loads(done.stdout))

    def _as_ordinary(self, plan: dict[str, Any], without: list[tuple[list[str], list[str]]]) -> tuple[list[str], dict[str, Any]]:
        """Let an id without an account see copies of the paths it needs, in a mount namespace of its own."""
        site = Path(str(importlib.util.find_spec("rfc8785").submodule_search_locations[0])).parent
        shim = self.folder / "shim"
        shim.mkdir(exist_ok=True)
        if without:
            edits = [([part.encode() for part in one], [part.encode() for part in two]) for one, two in without]
            (shim / "bwrap").write_text(SHIM.replace("{without!r}", repr(edits).replace("'", '"')))
            (shim / "bwrap").chmod(0o755)
        binds = {"tree": self.tree, "site": site, "project": PROJECT, "shim": shim}
        mounts = []
        for number, (source, target, writable) in enumerate(plan["mounts"]):
            binds[f"m{number}"] = Path(source).parent
            mounts.append((f"/mnt/m{number}/{Path(source).name}", target, writable))
            if writable:
                os.chown(source, ORDINARY, ORDINARY)
        pairs = [f"{name}={path}" for name, path in binds.items()]
        inner = ["/mnt/tree/opt/python/bin/python3", f"/mnt/project/{HERE.relative_to(PROJECT)}/probe_runner.py"]
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_ORDINARY_USER, "sh", *pairs, "--", *inner]
        return command, {**plan, "root": "/mnt/tree", "mounts": mounts}


@pytest.fixture(params=["root", "ordinary"])
def probe(request, enclave_runtime, tmp_path) -> Prober:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("only root can start it as root")
    return Prober(tree=enclave_runtime.root, ordinary=request.param == "ordinary", folder=tmp_path)


@pytest.fixture
def ordinary_probe(enclave_runtime, tmp_path) -> Prober:
    return Prober(tree=enclave_runtime.root, ordinary=True, folder=tmp_path)
