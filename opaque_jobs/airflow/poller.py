"""One poll of the approval states for all waiting triggers of a triggerer process.

A thousand triggers that each ask once a second cost half a core; one query for all of them costs next to nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final
from weakref import WeakKeyDictionary

__all__ = ["OPEN", "WAITING", "Poller", "Reader", "shared_poller"]

OPEN: Final = "open"
WAITING: Final = "waiting"

Reader = Callable[[Collection[str]], Awaitable[Mapping[str, str]]]
"""Run ids -> for each `waiting`, `open`, or the word for why it will never open."""

_log = logging.getLogger(__name__)


class Poller:
    """Asks for all waiting ids at once, as long as there are any.

    Args:
        read: Reads the states.
        interval_s: Seconds between two questions.
    """

    def __init__(self, read: Reader, *, interval_s: float = 1.0) -> None:
        self._read = read
        self._interval_s = interval_s
        self._waiters: dict[str, set[asyncio.Future[str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.questions = 0

    async def settled(self, run_id: str) -> str:
        """Wait until the run no longer waits, and give `open` or the word for why it never will."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run_id, set()).add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            return await future
        finally:
            futures = self._waiters.get(run_id, set())
            futures.discard(future)
            if not futures:
                self._waiters.pop(run_id, None)

    async def _poll(self) -> None:
        while self._waiters:
            try:
                self.questions += 1
                states = await self._read(list(self._waiters))
            except Exception:  # noqa: BLE001 - a database that is away for a while must not fail anybody's run
                _log.warning("the approval states cannot be read; trying again")
                states = {}
            for run_id, state in states.items():
                if state != WAITING:
                    for future in self._waiters.get(run_id, ()):
                        if not future.done():
                            future.set_result(state)
            await asyncio.sleep(self._interval_s)


_pollers: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Poller]] = WeakKeyDictionary()


def shared_poller(make_reader: Callable[[], Reader]) -> Poller:
    """Give the running event loop's one poller.

    Args:
        make_reader: Called for the first trigger of this loop only.
    """
    loop = asyncio.get_running_loop()
    if loop not in _pollers:
        _pollers[loop] = Poller(make_reader())
    return _pollers[loop]
