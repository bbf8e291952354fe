"""Builds the enclave's root file system, once per set of inputs.

Two layers, so that a change in our own few files does not cost the large packages again: the base (interpreter, packages,
libraries) and, hard-linked from it, the tree with the agent and its Java. Both are made beside their place and renamed.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opaque_jobs.enclave.runtime.archive import ARCHIVE_NAME, ARCHIVE_SOURCES, make_archive
from opaque_jobs.enclave.runtime.java import compile_jar
from opaque_jobs.enclave.runtime.libraries import add_libraries, add_programs, lay_out
from opaque_jobs.enclave.runtime.measurement import MANIFEST_NAME, check_tree, write_manifest
from opaque_jobs.enclave.runtime.packages import compile_sources, copy_python, install_packages
from opaque_jobs.enclave.sandbox.seccomp import author_filter
from opaque_jobs.errors import ConfigurationError
from opaque_jobs.settings import Settings

__all__ = ["AGENT_SOURCES", "AUTHOR_FILTER", "NEEDED_BYTES", "Progress", "Runtime", "ensure_runtime", "find_runtime"]

Progress = Callable[[str], None]
"""Called with one short sentence at the start of every step."""

NEEDED_BYTES: Final = 4 << 30
"""Free disk that a first build wants."""
AGENT_SOURCES: Final = (
    "__init__.py",
    "errors.py",
    "domain",
    "crypto/__init__.py",
    "crypto/checkpoints.py",
    "crypto/consent.py",
    "crypto/custody.py",
    "crypto/keys.py",
    "crypto/log_proof.py",
    "crypto/merkle.py",
    "crypto/parquet.py",
    "crypto/result_file.py",
    "crypto/sealing.py",
    "crypto/signing.py",
    "attestation/__init__.py",
    "attestation/binding.py",
    "attestation/kbs.py",
    "attestation/result.py",
    "attestation/token.py",
    "enclave/__init__.py",
    "protocol/__init__.py",
    "protocol/enclave.py",
    "protocol/result_files.py",
    "enclave/agent",
)
"""All that goes into `/opt/agent/opaque_jobs`: what an auditor of the enclave must read."""
AUTHOR_FILTER: Final = "opt/seccomp/author.bpf"
"""Seccomp filter that the agent gives to its nested sandboxes: made here because the tree has no libseccomp."""
_RECIPE: Final = 4
"""Raised when the build itself changes what it makes."""
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_JAVA_SOURCES: Final = _PACKAGE / "enclave" / "jvm"
_LOCK: Final = Path(__file__).with_name("requirements.lock")
_BUILD_LOCK: Final = Path(__file__).with_name("build-requirements.lock")
_KEY_LENGTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A built tree.

    Args:
        root: The folder that becomes `/` in the sandbox.
        measurement: `sha256:<hex>` of its manifest.
    """

    root: Path
    measurement: str


def find_runtime(settings: Settings) -> Runtime | None:
    """Give the tree for the present inputs if it has been built, checked against its manifest.

    Raises:
        TrustError: It is there but was changed.
    """
    base = settings.runtime_dir / _tree_key(settings)
    if not (base / MANIFEST_NAME).exists():
        return None
    return Runtime(root=base / "root", measurement=check_tree(base))


def ensure_runtime(settings: Settings, progress: Progress) -> Runtime:
    """Give the tree for the present inputs, building what is missing. A second caller waits for the first.

    Raises:
        ConfigurationError: A program, a package, the network or disk space is missing.
        TrustError: The tree is there but was changed.
    """
    _check_platform()
    settings.prepare()
    settings.runtime_dir.mkdir(mode=0o700, exist_ok=True)
    with _locked(settings.runtime_dir):
        found = find_runtime(settings)
        if found is not None:
            return found
        _clear_leftovers(settings.runtime_dir)
        base = settings.runtime_dir / f"base-{_base_key()}"
        if not base.exists():
            _build_base(base, progress)
        return _build_tree(settings, base, progress)


def _check_platform() -> None:
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        raise ConfigurationError("the enclave needs Linux with glibc", hint="use Debian, Ubuntu, Fedora or similar; WSL 2 works")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear_leftovers(folder: Path) -> None:
    """Remove what a killed build left; whoever holds the lock is the only builder."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _base_key() -> str:
    """Name the base by all that decides its content."""
    hasher = hashlib.sha256()
    for part in (str(_RECIPE), sys.version, platform.machine(), "-".join(platform.libc_ver())):
        hasher.update(part.encode() + b"\0")
    for lock in (_LOCK, _BUILD_LOCK):
        hasher.update(lock.read_bytes() + b"\0")
    return hasher.hexdigest()[:_KEY_LENGTH]


def _tree_key(settings: Settings) -> str:
    """Name the tree by its base and our own sources."""
    flavour = "cached" if settings.engine_cache else "plain"
    return _key_of(flavour, [*_agent_files(), *_java_files()])


def _archive_key() -> str:
    """Name Java's cache by what decides its content, as far as that can be named."""
    return _key_of("archive", [*_java_files(), *ARCHIVE_SOURCES])


def _key_of(purpose: str, files: list[Path]) -> str:
    hasher = hashlib.sha256(f"{purpose} {_base_key()}".encode())
    for path in files:
        content = hashlib.sha256(path.read_bytes()).digest()
        hasher.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + content)
    return hasher.hexdigest()[:_KEY_LENGTH]


def _java_files() -> list[Path]:
    return sorted(_JAVA_SOURCES.glob("*.java"))


def _agent_files() -> list[Path]:
    found: list[Path] = []
    for name in AGENT_SOURCES:
        path = _PACKAGE / name
        found += [path] if path.is_file() else path.rglob("*.py")
    return sorted(found)


@contextlib.contextmanager
def _built_beside(target: Path) -> Iterator[Path]:
    """Give a folder that becomes `target` at the end, or nothing at all."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build_base(target: Path, progress: Progress) -> None:
    if shutil.disk_usage(target.parent).free < NEEDED_BYTES:
        raise ConfigurationError(
            "not enough free disk for the enclave", hint="free some, or set OPAQUE_JOBS_HOME elsewhere", needed_bytes=NEEDED_BYTES
        )
    with _built_beside(target) as scratch:
        root = scratch / "root"
        root.mkdir()
        lay_out(root)
        progress("Copying the Python interpreter")
        copy_python(root)
        progress("Fetching Spark, Java and the Python packages (about 600 MB, once)")
        site = root / "opt" / "site"
        with tempfile.TemporaryDirectory(dir=scratch) as temporary:
            install_packages(site, lock=_LOCK, build_lock=_BUILD_LOCK, scratch=Path(temporary))
        progress("Compiling Python code")
        compile_sources([root / "opt" / "python", site], root=root)
        progress("Collecting shared libraries")
        add_programs(root)
        add_libraries(root)
        _make_read_only(root)


def _build_tree(settings: Settings, base: Path, progress: Progress) -> Runtime:
    target = settings.runtime_dir / _tree_key(settings)
    with _built_beside(target) as scratch:
        root = scratch / "root"
        progress("Adding the agent")
        shutil.copytree(base / "root", root, symlinks=True, copy_function=os.link)
        _copy_agent(root / "opt" / "agent" / "opaque_jobs")
        compile_sources([root / "opt" / "agent"], root=root)
        (root / AUTHOR_FILTER).write_bytes(author_filter())
        progress("Compiling the engine's Java")
        compile_jar(root, _JAVA_SOURCES)
        _make_read_only(root / "opt" / "agent")
        scratch.chmod(0o755)
        if settings.engine_cache:
            _add_archive(root, settings.runtime_dir / f"engine-{_archive_key()}.aot", progress)
        _make_read_only(root / "opt" / "jars")
        _make_read_only(root / "opt" / "seccomp")
        progress("Measuring the runtime")
        measurement = write_manifest(scratch)
    return Runtime(root=target / "root", measurement=measurement)


def _add_archive(root: Path, kept: Path, progress: Progress) -> None:
    """Add Java's cache, from an earlier build with the same Java if there was one."""
    if not kept.exists():
        progress("Teaching Java to start the engine faster (one or two minutes, once)")
        if not make_archive(root, kept):
            progress("That did not work; the engine will only start more slowly")
            return
    os.link(kept, root / "opt" / "jars" / ARCHIVE_NAME)


def _copy_agent(target: Path) -> None:
    for source in _agent_files():
        copy = target / source.relative_to(_PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def _make_read_only(top: Path) -> None:
    """Give files one of two modes, whatever this machine's umask and packages say; folders stay deletable by their owner."""
    top.chmod(0o755)
    for folder, folders, files in os.walk(top):
        for name in folders:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & 0o100 else 0o444)
