"""Another copy of this program as a child: it ends with its parent, however that ends, and leaves nothing behind.

A passphrase goes to it through a pipe: not on its command line, not in its environment, not on disk.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from opaque_jobs.errors import ConfigurationError
from opaque_jobs.settings import Settings
from opaque_jobs.standalone import keeper

__all__ = ["Child"]

_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "USER", "LOGNAME", "SOFTHSM2_CONF")
_OWN = ("OPAQUE_JOBS_PASSPHRASE_FILE", "OPAQUE_JOBS_AS")
"""Settings of the person's own commands, not of the child's."""


class Child:
    """One child.

    Args:
        settings: The installation that it works on.
        arguments: Of `opaque-jobs`.
        log_name: Of its log in the installation's log folder.
        grace_s: How long it may take to end in order.
    """

    def __init__(self, settings: Settings, arguments: Sequence[str], *, log_name: str, grace_s: float) -> None:
        self._settings = settings
        self._arguments = list(arguments)
        self._grace_s = grace_s
        self._kept: subprocess.Popen[bytes] | None = None
        self.log_path: Path = settings.logs_dir / f"{log_name}.log"

    @property
    def ended(self) -> bool:
        """Whether it is no longer there though it was started."""
        return self._kept is None or self._kept.poll() is not None

    def start(self, passphrase: str) -> None:
        """Start it with the passphrase as its `--passphrase-file`.

        Raises:
            ConfigurationError: It cannot be started.
        """
        reading, writing = os.pipe()
        program = [sys.executable, "-m", "opaque_jobs.cli", *self._arguments, "--passphrase-file", f"/dev/fd/{reading}"]
        keep = [sys.executable, "-I", keeper.__file__, str(os.getpid()), str(self._grace_s)]
        try:
            self._settings.logs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                self._kept = subprocess.Popen(
                    [*keep, *program],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(reading,),
                )
            finally:
                os.close(log)
            os.write(writing, passphrase.encode() + b"\n")  # a pipe holds more than the longest passphrase
        except OSError:
            raise ConfigurationError(
                "another process of this program cannot be started", hint="is the disk full, or the home not yours?"
            ) from None
        finally:
            os.close(reading)
            os.close(writing)

    def stop(self) -> None:
        """End it and wait for that."""
        if self._kept is not None:
            self._kept.terminate()
            self._kept.wait()
            self._kept = None

    def last_words(self) -> str:
        """Give the last line of its log, for an error's hint."""
        try:
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""

    def _environment(self) -> dict[str, str]:
        """Give the whole environment: where the installation is, and what a program needs to start."""
        passed = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        passed |= {name: value for name, value in os.environ.items() if name.startswith("OPAQUE_JOBS_") and name not in _OWN}
        return passed | self._settings.environment() | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
