"""The sandboxes inside the sandbox: where the author's process and its UDF workers run, and around the engine.

The author's: own user, process, network, mount, IPC and host-name namespaces, no capabilities, a system call filter without
namespaces and with Unix sockets only. It sees Python, the libraries, and what is bound in by name: no data, no keys, no output
folder. The engine's has its own user and mount namespace: whatever it is told to write, there is no host's folder to write to.

The author's has no procfs: each process's `mountinfo` names the runtime's folder on the host, and other files the kernel's
command line, boot, load and neighbours. Nothing mounted over such files would cover the first: `/proc` holds fixed files instead.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from opaque_jobs.enclave.agent.places import (
    AGENT_CODE,
    AUTHOR_FILTER,
    AUTHOR_PROC,
    ENGINE,
    OUT,
    PYTHON,
    RESULT,
    SITE,
    UDF_LAUNCHER,
    UDF_SOCKETS,
)

__all__ = ["UDF_DAEMON", "engine_wall", "nested_command", "write_udf_launcher"]

UDF_DAEMON: Final = "udf_daemon"
"""Module that Spark starts as its worker daemon."""
_DAEMON: Final = AGENT_CODE / "opaque_jobs/enclave/agent/udf_daemon.py"

_ENVIRONMENT: Final = {
    "HOME": "/tmp",  # noqa: S108 - its own tmpfs
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/opt/python/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHOME": "/opt/python",
    "PYTHONPATH": str(SITE),
    "SPARK_HOME": str(SITE / "pyspark"),
    "SPARK_LOCAL_DIRS": "/tmp",  # noqa: S108 - its own tmpfs
    "TMPDIR": "/tmp",  # noqa: S108 - its own tmpfs
    "TZ": "UTC",
    "USER": "enclave",
    "OMP_NUM_THREADS": "1",
}
_BACKLOG: Final = 4096
"""Workers that may wait to be started; the kernel takes less where it allows less."""
_PROC: Final = {
    "cpuinfo": "".join(f"processor\t: {each}\n\n" for each in range(2)),
    "meminfo": "MemTotal:        2097152 kB\nMemFree:         1048576 kB\nMemAvailable:    1048576 kB\n",
}
"""What `/proc` holds: the same on every machine, for libraries that ask how many threads or how much memory to use."""
_SHM_BYTES: Final = 64 << 20
_TMP_BYTES: Final = 256 << 20
"""All that can be written to is small and counted; the filter, and no `/dev/zero`, leave no memory that no process holds."""
_PASSED_ON: Final = ("PYTHON_", "PYTHONUNBUFFERED", "PYSPARK_", "SPARK_", "OPAQUE_JOBS_")
"""Beginnings of the names of variables by which Spark speaks to its Python workers; none of them is a secret."""


def nested_command(*, filter_fd: int, binds: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Give bubblewrap's command line up to the program.

    Args:
        filter_fd: Open on the system call filter; must be passed to the child.
        binds: More options of bubblewrap that bind something in.
        environment: More variables.
    """
    variables = {**_ENVIRONMENT, **environment}
    _write_proc(AUTHOR_PROC)
    return [
        "/usr/bin/bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--clearenv",
        "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
        "--symlink", "usr/lib", "/lib64", "--ro-bind", "/etc", "/etc",
        "--ro-bind", "/opt/python", "/opt/python", "--ro-bind", str(SITE), str(SITE),
        "--ro-bind", str(AUTHOR_PROC), "/proc", "--dev", "/dev", "--dev-bind", "/dev/null", "/dev/zero",
        "--size", str(_SHM_BYTES), "--tmpfs", "/dev/shm", "--size", str(_TMP_BYTES), "--tmpfs", "/tmp",  # noqa: S108 - its own
        *binds, "--remount-ro", "/dev", "--remount-ro", "/",
        "--chdir", "/tmp", "--seccomp", str(filter_fd),  # noqa: S108 - its own tmpfs
        *(part for name, value in sorted(variables.items()) for part in ("--setenv", name, value)),
        "--",
    ]  # fmt: skip


def engine_wall() -> list[str]:
    """Give bubblewrap's command line for the engine, up to the program.

    Three folders are writable, none of them the host's: its working folder, the sockets of UDF workers, the result. Its user
    namespace keeps it from the agent's view of files (`/proc/PID/root`), though both have one user id.
    """
    writable = (ENGINE, UDF_SOCKETS, RESULT)
    return [
        "/usr/bin/bwrap", "--unshare-user", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev",
        "--bind", "/proc", "/proc", *(part for path in writable for part in ("--bind", str(path), str(path))),
        "--size", "4096", "--tmpfs", str(OUT), "--remount-ro", str(OUT), "--",
    ]  # fmt: skip


def _write_proc(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _PROC.items():
        (folder / name).write_text(content)


def write_udf_launcher(path: Path = UDF_LAUNCHER, sockets: Path = UDF_SOCKETS) -> None:
    """Write the program that Spark takes for Python: it starts the real one in a nested sandbox.

    It opens the socket on which Spark finds the daemon and hands it in; the folder of the sockets stays outside, so whatever
    connects there is sure to reach the daemon that was started for it.
    """
    sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    filter_fd, socket_fd = 9, 8
    binds = ("--ro-bind", str(_DAEMON), f"/udf/{UDF_DAEMON}.py")
    command = nested_command(filter_fd=filter_fd, binds=binds, environment={"PYTHONPATH": f"{SITE}:/udf"})
    path.write_text(
        f"#!{PYTHON} -IS\n"
        "import os, socket, sys, uuid\n"
        f"os.dup2(os.open({str(AUTHOR_FILTER)!r}, os.O_RDONLY), {filter_fd}, inheritable=True)\n"
        f"command = {command!r}\n"
        f"set_by_us = {sorted(_ENVIRONMENT)!r}\n"
        "name = str(uuid.uuid4())\n"
        "listening = socket.socket(socket.AF_UNIX)\n"
        f"listening.bind(os.path.join({str(sockets)!r}, f'.{{name}}.sock'))\n"
        f"listening.listen({_BACKLOG})\n"
        f"os.dup2(listening.fileno(), {socket_fd}, inheritable=True)\n"
        "os.environ['OPAQUE_JOBS_SANDBOX_PID'] = str(os.getpid())\n"
        f"os.environ.update(OPAQUE_JOBS_UDF_SOCKET=name, OPAQUE_JOBS_UDF_SOCKET_FD='{socket_fd}')\n"
        f"passed_on = {_PASSED_ON!r}\n"
        "more = [part for name, value in os.environ.items() if name.startswith(passed_on) and name not in set_by_us\n"
        "        for part in ('--setenv', name, value)]\n"
        f"os.execv(command[0], [*command[:-1], *more, '--', {str(PYTHON)!r}, *sys.argv[1:]])\n"
    )
    path.chmod(0o500)
