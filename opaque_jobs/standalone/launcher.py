"""Starts and stops the embedded Airflow: API server, scheduler, DAG processor and triggerer, on loopback only.

`airflow standalone` is no base for this: it forces its own auth manager, needs PATH set up and leaves children behind. Here each
process has a keeper (`keeper.py`) that ends it, and all below it, when this process stops or is killed.
"""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from io import TextIOWrapper
from types import TracebackType
from typing import Final, Self

import httpx

from opaque_jobs.airflow.logins import ADMIN_LOGIN, HOUSEKEEPING_LOGIN, ensure_logins
from opaque_jobs.airflow.rest import AirflowRest
from opaque_jobs.errors import ConfigurationError, ConflictError
from opaque_jobs.settings import Settings
from opaque_jobs.standalone import keeper
from opaque_jobs.standalone.airflow_home import AirflowHome

__all__ = ["COMPONENTS", "AirflowStack", "running_address"]

COMPONENTS: Final = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
"""Airflow's processes and their commands. The log servers listen on every interface; nothing here needs them."""
_FIRST: Final = ("api-server", "dag-processor")
"""Started before the others: tasks that an earlier stop left over report to the API, and would lose a retry to its absence."""
_STOP_WAVES: Final = (("scheduler",), ("triggerer", "dag-processor", "api-server"))  # tasks report to the API until they end
_HEALTH: Final = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
_GRACE_S: Final = 10.0

Progress = Callable[[str, str], None]
"""Called with a component (`database` or one of `COMPONENTS`) and a word: `starting`, `ready`, `stopping`, `stopped`."""


def _silent(_component: str, _word: str) -> None:
    """Report nothing."""


@dataclass(slots=True, kw_only=True)
class AirflowStack:
    """One embedded Airflow. Use as a context manager, or call `up` and `down`.

    The processes live as long as the thread that called `up`.

    Args:
        home: Its files.
        port: Port of the web interface on 127.0.0.1; 0 takes a free one.
        progress: Told about every step.
    """

    home: AirflowHome
    port: int = 8080
    progress: Progress = _silent
    _keepers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: TextIOWrapper | None = None

    @property
    def address(self) -> str:
        """Base address of the web interface and of REST."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    def up(self, *, timeout_s: float = 180.0) -> None:
        """Start all processes and wait until each is healthy.

        Raises:
            ConflictError: This home's Airflow already runs.
            ConfigurationError: The port is taken, or a process did not start; the hint names its log.
        """
        self._take_lock()
        try:
            self.port = _free_port(self.port)
            self.home.prepare(port=self.port)
            self._migrate()
            deadline = time.monotonic() + timeout_s
            for component in _FIRST:
                self._start(component)
            ensure_logins(self.home.settings, [ADMIN_LOGIN, HOUSEKEEPING_LOGIN])
            self._wait_healthy(_FIRST, deadline)
            for component in COMPONENTS:
                if component not in _FIRST:
                    self._start(component)
            self._wait_healthy(COMPONENTS, deadline)
            with AirflowRest.as_login(self.home.settings, self.address, ADMIN_LOGIN) as airflow:
                airflow.ensure_spark_connection()
            self.home.address_path.write_text(self.address)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Stop all processes in order; nothing of them is left afterwards."""
        for wave in _STOP_WAVES:
            stopping = {component: self._keepers.pop(component) for component in wave if component in self._keepers}
            for component, kept in stopping.items():
                self.progress(component, "stopping")
                kept.terminate()
            for component, kept in stopping.items():
                kept.wait()
                self.progress(component, "stopped")
        if self._lock is not None:
            self.home.address_path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def ended(self) -> list[str]:
        """Give the components that are no longer running though they should."""
        return [component for component, kept in self._keepers.items() if kept.poll() is not None]

    def restart(self, component: str) -> None:
        """Start a component again that has ended, without waiting until it is healthy."""
        self._keepers[component].wait()
        self._start(component)

    def _take_lock(self) -> None:
        self.home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.home.lock_path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConflictError(
                "the Airflow of this home is already running",
                hint="use it, or stop it where it was started, or choose another OPAQUE_JOBS_HOME",
            ) from None
        self._lock = lock

    def _migrate(self) -> None:
        self.progress("database", "starting")
        version, note = metadata.version("apache-airflow-core"), self.home.root / "schema-of"
        database = self.home.sqlite_path
        if database is not None and database.exists() and note.exists() and note.read_text() == version:
            self.progress("database", "ready")
            return
        with self._log("database") as log:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                check=False,
            )
        if done.returncode != 0:
            raise self._broken("database")
        note.write_text(version)
        self.progress("database", "ready")

    def _start(self, component: str) -> None:
        self.progress(component, "starting")
        keep = [sys.executable, "-I", keeper.__file__, str(os.getpid()), str(_GRACE_S)]
        with self._log(component) as log:
            self._keepers[component] = subprocess.Popen(
                [*keep, sys.executable, "-m", "airflow", *COMPONENTS[component]],
                env=self.home.environment(),
                cwd=self.home.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
            )

    def _log(self, component: str) -> TextIOWrapper:
        descriptor = os.open(self.home.log_path(component), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a")

    def _wait_healthy(self, components: Iterable[str], deadline: float) -> None:
        waiting = set(components)
        with httpx.Client(base_url=self.address, timeout=5.0, trust_env=False) as client:
            while waiting:
                if ended := self.ended():
                    raise self._broken(ended[0])
                if time.monotonic() > deadline:
                    raise self._broken(min(waiting))
                healthy = _healthy(client)
                for component in sorted(waiting & healthy):
                    self.progress(component, "ready")
                waiting -= healthy
                time.sleep(0.2)

    def _broken(self, component: str) -> ConfigurationError:
        return ConfigurationError(
            f"Airflow's {component} did not start", hint=f"read {self.home.log_path(component)}", component=component
        )


def _healthy(client: httpx.Client) -> set[str]:
    """Give the components that say they are healthy."""
    try:
        states = client.get("/api/v2/monitor/health").raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return set()
    return {"api-server"} | {
        component for component, key in _HEALTH.items() if (states.get(key) or {}).get("status") == "healthy"
    }


def _free_port(port: int) -> int:
    """Give the port back if it is free, or a free one for 0.

    Raises:
        ConfigurationError: Something listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ConfigurationError(
                f"port {port} on this machine is in use", hint="choose another with --port, or 0 for any free one", port=port
            ) from None
        return int(probe.getsockname()[1])


def running_address(settings: Settings) -> str | None:
    """Give the address of this home's Airflow if it runs now."""
    home = AirflowHome(settings=settings)
    with suppress(FileNotFoundError), home.lock_path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with suppress(FileNotFoundError):
                return home.address_path.read_text()
    return None
