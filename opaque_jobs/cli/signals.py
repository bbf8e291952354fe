"""Ending in order: SIGTERM and SIGHUP count as Ctrl-C, and nothing interrupts the cleaning up."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Final

__all__ = ["ended_in_order", "no_more_interrupts"]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Make every ending signal raise `KeyboardInterrupt` in the block; restores what was before."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def no_more_interrupts() -> None:
    """Ignore ending signals from now on, within `ended_in_order`: what follows cleans up and is bounded in time."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
