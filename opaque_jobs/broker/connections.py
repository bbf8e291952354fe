"""Connections to a broker: who holds the other end is asked once, and nobody may hold so many that others get none."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from opaque_jobs.broker.peers import peer_of

__all__ = ["MAX_CONNECTIONS", "counted_connections"]

MAX_CONNECTIONS: Final = 128
"""Of one peer at a time; a process may have some thousand files open."""


def counted_connections(peer: Callable[[Scope], str] = peer_of) -> type[H11Protocol]:
    """Return the protocol of one server's connections.

    Args:
        peer: Tells who holds the other end.
    """
    held: Counter[str] = Counter()

    class Connection(H11Protocol):
        """One connection; a peer's that has too many is closed before anything is read."""

        _holder: str | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            holder = peer({"client": self.client, "server": self.server})
            if held[holder] >= MAX_CONNECTIONS:
                transport.abort()
                return
            self._holder = holder
            held[holder] += 1
            known: dict[str, Any] = {**self.app_state, "peer": holder}
            self.app_state = known

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self._holder is not None:
                held[self._holder] -= 1
                if not held[self._holder]:
                    del held[self._holder]
                self._holder = None

    return Connection
