"""What a home holds, to tell whether a command that failed has changed anything."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path


def contents(home: Path) -> dict[str, str]:
    """Give everything in a home: files by digest, databases by what is in them; no locks and no logs."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if not path.is_file() or name.startswith(("logs/", "runtime/")) or name.endswith(("-wal", "-shm", ".lock")):
            continue
        if path.suffix == ".db":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                found[name] = "\n".join(connection.iterdump())
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
