"""Each peer of a broker has its own share, and the kernel says who it is."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from opaque_jobs.broker.peers import FairShares, in_turn, peer_of, user_of

SOCKETS = Path("/proc/net/tcp")


def connected():
    """Make a listener and a connection to it on loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    return listener, client


def test_peer_on_loopback_is_the_user_whom_the_kernel_names():
    listener, client = connected()
    with listener, client:
        scope = {"type": "http", "client": client.getsockname(), "server": listener.getsockname()}
        assert peer_of(scope) == f"user {os.getuid()}"
        other = ("127.0.0.1", client.getsockname()[1])
        assert user_of(other, ("127.0.0.1", 1), SOCKETS.read_text()) is None


@pytest.mark.parametrize(
    ("scope", "peer"),
    [
        ({"client": None}, "unknown"),
        ({"client": ("192.0.2.1", 1), "server": ("127.0.0.1", 2)}, "address 192.0.2.1"),
        ({"client": ("::1", 1), "server": ("::1", 2)}, "address ::1"),
        ({"client": ("192.0.2.1", 1), "server": None}, "address 192.0.2.1"),
        ({"client": ("192.0.2.1", 1), "server": ("/run/broker", None)}, "address 192.0.2.1"),
    ],
)
def test_peer_that_the_kernel_does_not_name_is_an_address(scope, peer):
    assert peer_of(scope) == peer


def test_socket_that_is_nobodys_any_more_is_not_taken_for_roots():
    row = "   0: 0100007F:{client:04X} 0100007F:{server:04X} {state} 0:0 0:0 0 {user} 0 1"
    for state, found in (("01", 7), ("06", None), ("05", None)):
        table = "head\n" + row.format(client=10, server=20, state=state, user=7)
        assert user_of(("127.0.0.1", 10), ("127.0.0.1", 20), table) == found
        assert user_of(("127.0.0.1", 20), ("127.0.0.1", 10), table) is None


class House:
    """An application in which every request waits until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.inside: list[str] = []
        self.refused: list[str] = []
        self.shares = FairShares(self.app, refuse=self.refuse, peer=lambda scope: scope["who"])

    async def app(self, scope, _receive, _send):
        self.inside.append(scope["state"]["peer"])
        await self.let_go.wait()

    async def refuse(self, scope, _receive, _send):
        self.refused.append(scope["who"])

    async def ask(self, who, count):
        for _ in range(count):
            asyncio.ensure_future(self.shares({"type": "http", "who": who}, None, None))  # noqa: RUF006 - ended by let_go
        await asyncio.sleep(0.01)


async def test_peer_with_many_requests_is_refused_more_and_no_other_is():
    house = House()
    await house.ask("user 1", 100)
    assert (len(house.inside), house.refused) == (64, ["user 1"] * 36)
    await house.ask("user 2", 64)
    assert (house.inside.count("user 2"), house.refused.count("user 2")) == (64, 0)
    house.let_go.set()
    await asyncio.sleep(0.01)
    await house.ask("user 1", 64)
    assert (house.inside.count("user 1"), house.refused.count("user 1")) == (128, 36)


async def test_peer_occupies_only_its_own_threads():
    """Forty slow requests of one peer, as many as there are threads; another's is answered before any of them."""
    release, answered, at_work = asyncio.Event(), [], []
    loop = asyncio.get_running_loop()

    async def app(scope, _receive, _send):
        def work():
            at_work.append(scope["who"])
            if scope["who"] == "slow":
                asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            answered.append(scope["who"])

        await in_turn(scope, work)

    shares = FairShares(app, refuse=app, peer=lambda scope: scope["who"])
    slow = [asyncio.create_task(shares({"type": "http", "who": "slow"}, None, None)) for _ in range(40)]
    await asyncio.sleep(0.05)
    assert len(at_work) == 4
    await shares({"type": "http", "who": "quick"}, None, None)
    assert answered == ["quick"]
    release.set()
    await asyncio.gather(*slow)
    assert answered.count("slow") == 40
