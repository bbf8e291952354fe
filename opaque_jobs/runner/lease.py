"""Keeping a run's lease in the database while its enclave works, from the thread that the session asks."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from opaque_jobs.services.runs import Runs

__all__ = ["RunLease"]

_RENEW_S: Final = 10.0
LEASE_S: Final = 60


class RunLease:
    """Answers whether the run goes on, and renews its lease now and then.

    Args:
        runs: The runs.
        run_id: The run, just started.
        keep_open: What the caller says.
    """

    def __init__(self, runs: Runs, run_id: str, keep_open: Callable[[], bool]) -> None:
        self._runs = runs
        self._run_id = run_id
        self._keep_open = keep_open
        self._renewed = time.monotonic()
        self._progress: str | None = None
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._keep_open = lambda: False

    def tell(self, word: str) -> None:
        """Note a status word; it is stored with the next renewal, which is made due."""
        with self._guard:
            self._progress = word
            self._renewed = float("-inf")

    def asks_for_keys(self) -> None:
        """Record, before the first request for keys leaves, that keys may have been released from here on.

        Raises:
            ConflictError: The run is closed: no request may leave.
        """
        self._runs.note_key_request(self._run_id)

    @property
    def stopped(self) -> bool:
        """Whether the caller has said that the run shall not go on."""
        return not self._keep_open()

    def keep(self) -> bool:
        """Tell whether the run goes on."""
        if not self._keep_open():
            return False
        with self._guard:
            due, word = time.monotonic() - self._renewed >= _RENEW_S, self._progress
        if not due:
            return self._runs.is_open(self._run_id)
        renewed = self._runs.renew_lease(self._run_id, lease_s=LEASE_S, progress=word)
        with self._guard:
            self._renewed = time.monotonic()
        return renewed
