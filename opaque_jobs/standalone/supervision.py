"""Keeps components running: what ends by itself is started again, later each time, and a crash loop is given up with its name."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["Component", "Supervisor", "read_status"]

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_CRASHES: Final = 5
_WITHIN_S: Final = 300.0


@dataclass(slots=True, kw_only=True)
class Component:
    """One process that should run.

    Args:
        name: For people.
        ended: Tells whether it is no longer there.
        start: Starts it again, without waiting for it.
        log_path: Where it says why it ended.
        restarts: How often it was started again.
        crashes: When it ended of late.
        due: When it is to be started again; None while it runs.
    """

    name: str
    ended: Callable[[], bool]
    start: Callable[[], None]
    log_path: Path
    restarts: int = 0
    crashes: list[float] = field(default_factory=list)
    due: float | None = None

    @property
    def document(self) -> dict[str, Any]:
        """What `opaque-jobs status` shows of it."""
        return {"component": self.name, "state": "running" if self.due is None else "restarting", "restarts": self.restarts}


class Supervisor:
    """Looks after components. Call `look` often.

    Args:
        components: What should run, and runs now.
        status_path: Where their states are written for `opaque-jobs status`.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, components: Iterable[Component], *, status_path: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._components = list(components)
        self._status_path = status_path
        self._clock = clock
        self._write()

    def look(self) -> list[str]:
        """Start again what has ended, once its pause is over; give what there is to say.

        Raises:
            ConfigurationError: A component ends again and again, or cannot be started.
        """
        said = [line for each in self._components for line in self._look_at(each)]
        if said:
            self._write()
        return said

    def _look_at(self, component: Component) -> list[str]:
        now = self._clock()
        if component.due is None:
            if not component.ended():
                return []
            component.crashes = [each for each in component.crashes if now - each < _WITHIN_S] + [now]
            crashes = len(component.crashes)
            if crashes >= _CRASHES:
                raise ConfigurationError(
                    f"{component.name} ended {crashes} times within {_WITHIN_S / 60:.0f} minutes",
                    hint=f"read the last lines of {component.log_path}",
                    component=component.name,
                )
            pause = min(_FIRST_PAUSE_S * 2 ** (crashes - 1), _LONGEST_PAUSE_S)
            component.due = now + pause
            return [f"{component.name} ended by itself; it is started again in {pause:.0f} s"]
        if now < component.due:
            return []
        component.start()
        component.restarts += 1
        component.due = None
        return [f"{component.name} was started again"]

    def _write(self) -> None:
        beside = self._status_path.with_name(f".{self._status_path.name}.new")
        beside.write_text(json.dumps([each.document for each in self._components]))
        beside.replace(self._status_path)


def read_status(path: Path) -> list[dict[str, Any]]:
    """Give what a supervisor wrote; nothing if none has."""
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return found
