"""Makes the tree stand alone: programs and shared libraries that its ELF files need, so that the host's /usr stays outside.

The tree is usrless in one place: every library lies in /usr/lib, and /lib, /lib64 and /usr/lib64 point there, because each
glibc looks in at least one of these without a cache file.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["PROGRAMS", "add_libraries", "add_programs", "lay_out"]

PROGRAMS: Final = ("bwrap",)
"""Nested sandboxes need it. There is no shell, nor what Hadoop's own file system would call (`RunFiles` does without)."""
_ALWAYS: Final = ("libdl.so.2", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1", "libstdc++.so.6")
"""Opened by name at run time: native code in jars, thread cancellation."""
_LINE: Final = re.compile(rb"^\s+(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MAGIC: Final = b"\x7fELF"
_BATCH: Final = 64
_ENV: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_MOUNT_POINTS: Final = (
    "data",
    "dev",
    "etc",
    "opt/agent",
    "opt/jars",
    "opt/seccomp",
    "out",
    "proc",
    "scratch",
    "tmp",
    "usr/bin",
    "usr/lib",
)
_LINKS: Final = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib", "usr/lib64": "lib", "sbin": "usr/bin"}
_ETC: Final = {
    "passwd": "root:x:0:0:root:/:/bin/false\nenclave:x:1000:1000:enclave:/tmp:/bin/false\n",
    "group": "root:x:0:\nenclave:x:1000:\n",
    "hosts": "127.0.0.1 localhost enclave\n::1 localhost\n",
    "host.conf": "multi on\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def lay_out(root: Path) -> None:
    """Make the fixed folders, links and small files of the tree."""
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for name, text in _ETC.items():
        (root / "etc" / name).write_text(text)


def add_programs(root: Path) -> None:
    """Copy the few programs that the enclave runs.

    Raises:
        ConfigurationError: One is not installed on this machine.
    """
    for name in PROGRAMS:
        source = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin")
        if source is None:
            raise ConfigurationError(f"the program {name} is missing", hint="install it, on Debian: apt install bubblewrap")
        target = root / "usr" / "bin" / name
        shutil.copyfile(Path(source).resolve(), target)
        target.chmod(0o755)


def add_libraries(root: Path) -> None:
    """Copy every shared library of the host that an ELF file of the tree needs.

    Raises:
        ConfigurationError: `ldd` is missing.
    """
    needed = {name: path for name, path in _needed(list(_elf_files(root))) if not path.is_relative_to(root)}
    folders = {path.parent for path in needed.values()}
    for name in _ALWAYS:
        for folder in sorted(folders):
            if name not in needed and (folder / name).exists():
                needed[name] = folder / name
    for name, path in sorted(needed.items()):
        target = root / "usr" / "lib" / name
        if not target.exists():
            shutil.copyfile(path.resolve(), target)
            target.chmod(0o755)


def _elf_files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = Path(folder, name)
            if (".so" in name or os.access(path, os.X_OK)) and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(4) == _MAGIC:
                        yield path


def _needed(files: list[Path]) -> Iterator[tuple[str, Path]]:
    """Ask the dynamic loader what it would load for each file; what it does not find is left out (X11, for Java's windows)."""
    for start in range(0, len(files), _BATCH):
        command = ["ldd", *map(str, files[start : start + _BATCH])]
        try:
            done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, env=_ENV)
        except FileNotFoundError:
            raise ConfigurationError(
                "the program ldd is missing", hint="install the C library's tools: apt install libc-bin"
            ) from None
        for match in _LINE.finditer(done.stdout):
            path = Path(os.fsdecode(match[2]))
            yield (os.fsdecode(match[1]) if match[1] else path.name), path
