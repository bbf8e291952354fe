"""A PostgreSQL of our own for tests, where its programs are installed: in a temporary folder, on loopback, ended afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER = "postgres"


def programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def why_not() -> str:
    """Say why it cannot be started; empty if it can."""
    if programs() is None:
        return "PostgreSQL is not installed (apt install postgresql)"
    if os.geteuid() == 0 and OWNER not in {user.pw_name for user in pwd.getpwall()}:
        return "PostgreSQL refuses to run as root and there is no user postgres"
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_postgresql(folder: Path) -> Iterator[str]:
    """Start a server; gives the address of a database without its name, ending in a slash."""
    bin_dir, port = programs(), _free_port()
    assert bin_dir is not None
    run_as = {"user": OWNER, "group": OWNER, "extra_groups": []} if os.geteuid() == 0 else {}
    if run_as:
        shutil.chown(folder, OWNER, OWNER)
    data = folder / "data"

    def call(*argv: str) -> None:
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder, **run_as)

    call(str(bin_dir / "initdb"), "-D", str(data), "-U", OWNER, "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    call(str(bin_dir / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://{OWNER}@127.0.0.1:{port}/"
    finally:
        call(str(bin_dir / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
