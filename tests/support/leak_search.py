"""Looks for secrets in files and in processes, in every form that a program is likely to give them."""

import base64
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

CHUNK = 1 << 20


def forms_of(secret: bytes) -> set[bytes]:
    """Give a secret as itself, reversed, as UTF-16, in hexadecimal, and in base64 at every offset of a longer text."""
    forms = {secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode()}
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + secret)
        inner = encoded[(8 * offset + 5) // 6 : (8 * (offset + len(secret))) // 6]  # without what neighbours change
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    with contextlib.suppress(UnicodeDecodeError):
        forms.add(secret.decode("ascii").encode("utf-16-le"))
    return forms


@dataclass
class Secrets:
    """Named secrets with all their forms."""

    forms: dict[bytes, str] = field(default_factory=dict)

    @classmethod
    def of(cls, named: Mapping[str, bytes]) -> Self:
        return cls({form: name for name, secret in named.items() for form in forms_of(secret)})

    def within(self, data: bytes) -> set[str]:
        """Name the secrets in some bytes."""
        return {name for form, name in self.forms.items() if form in data}

    def in_file(self, path: Path) -> set[str]:
        """Name the secrets in a file, read in overlapping pieces.

        Another process reads it: SQLite's locks on a file are lost when their process closes the file in any other way.
        """
        longest, kept, found = max(map(len, self.forms)), b"", set()
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as reader, reader.stdout as file:
            while chunk := file.read(CHUNK):
                found |= self.within(kept + chunk)
                kept = chunk[-longest:]
        return found

    def in_tree(self, *folders: Path) -> dict[str, set[str]]:
        """Name the secrets in names and contents of all files below some folders: path -> secrets, where there are any."""
        found: dict[str, set[str]] = {}
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                there = self.within(os.fsencode(path.relative_to(folder)))
                if path.is_file() and not path.is_symlink():
                    there |= self.in_file(path)
                if there:
                    found[str(path.relative_to(folder))] = there
        return found


class ProcessWatch:
    """Looks again and again at the command line and environment of every process of the machine."""

    def __init__(self, secrets: Secrets, *, every_s: float = 0.1) -> None:
        self._secrets = secrets
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self.found: set[tuple[str, str]] = set()
        self.seen: set[bytes] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(self._every_s):
            self.look(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())

    def look(self, pids: Iterable[int]) -> None:
        """Look once."""
        for pid in pids:
            for name in ("cmdline", "environ"):
                try:
                    data = Path(f"/proc/{pid}/{name}").read_bytes()
                except OSError:
                    continue
                if name == "cmdline":
                    self.seen.add(data)
                self.found |= {(name, secret) for secret in self._secrets.within(data)}
