"""Who speaks to a broker, and how much of it one speaker gets: nobody's calls keep those of others waiting.

Brokers listen on loopback. The kernel knows which user's process holds the other end of such a connection, and that is who
speaks; nothing that a request says about its sender is believed. Where the kernel does not tell, it is the address.
Source: proc_net_tcp in the kernel's documentation.
"""

import asyncio
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["FairShares", "in_turn", "peer_of", "user_of"]

T = TypeVar("T")
_SOCKETS: Final = Path("/proc/net/tcp")
_ESTABLISHED: Final = "01"
"""Sockets in other states may be nobody's any more, and are shown as root's."""
_AT_WORK: Final = 4
"""Threads that work for one peer at a time; there are some 40 in all."""
_AT_ONCE: Final = 64
"""Requests of one peer that are read, waiting or worked on."""


def user_of(client: tuple[str, int], server: tuple[str, int], table: str) -> int | None:
    """Return the user id of whoever holds the client's end of a connection; None if the kernel does not tell.

    Args:
        client: IPv4 address and port of the other end.
        server: Our own.
        table: What `/proc/net/tcp` holds.
    """
    try:
        wanted = [_in_table(client), _in_table(server), _ESTABLISHED]
    except OSError:
        return None
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[1:4] == wanted:
            return int(fields[7])
    return None


def peer_of(scope: Scope) -> str:
    """Return who sends a request: a user of this machine, or else an address."""
    client, server = scope.get("client"), scope.get("server")
    if not client:
        return "unknown"
    try:
        user = user_of(tuple(client), tuple(server), _SOCKETS.read_text("ascii")) if server and server[1] else None
    except OSError:
        user = None
    return f"address {client[0]}" if user is None else f"user {user}"


def _in_table(address: tuple[str, int]) -> str:
    (number,) = struct.unpack(f"{'<' if sys.byteorder == 'little' else '>'}I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


class FairShares:
    """Middleware that knows each request's peer and lets none have more than its share.

    Args:
        app: The application.
        refuse: Answers a request beyond the share.
        peer: Tells who sends a request.
    """

    def __init__(self, app: ASGIApp, *, refuse: ASGIApp, peer: Callable[[Scope], str] = peer_of) -> None:
        self._app, self._refuse, self._peer = app, refuse, peer
        self._at_once: Counter[str] = Counter()
        self._work: dict[str, asyncio.Semaphore] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer = scope.setdefault("state", {}).get("peer") or self._peer(scope)  # a server that counts connections knows already
        if self._at_once[peer] >= _AT_ONCE:
            await self._refuse(scope, receive, send)
            return
        self._at_once[peer] += 1
        try:
            work = self._work.setdefault(peer, asyncio.Semaphore(_AT_WORK))
            scope["state"].update(peer=peer, work=work)
            await self._app(scope, receive, send)
        finally:
            self._at_once[peer] -= 1
            if not self._at_once[peer]:
                del self._at_once[peer], self._work[peer]


async def in_turn(scope: Scope, operation: Callable[[], T]) -> T:
    """Do something in a worker thread once one of the peer's own is free."""
    async with scope["state"]["work"]:
        return await run_in_threadpool(operation)
