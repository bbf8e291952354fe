"""A real server of a broker: who holds many connections is closed out, and others are still answered."""

import socket
import threading
import time
from contextlib import ExitStack

import pytest
import uvicorn

from opaque_jobs.broker.connections import MAX_CONNECTIONS, counted_connections

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def say_peer(scope, _receive, send):
    """Answer with who asks, as the server knows it."""
    body = scope["state"]["peer"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server():
    """Serve on loopback; the other end is called by the first letter in `names`, as long as there is one."""
    names = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    protocol = counted_connections(lambda _scope: names[0])
    running = uvicorn.Server(uvicorn.Config(say_peer, http=protocol, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    with listener:
        yield names, listener.getsockname()
        running.should_exit = True
        thread.join()


def asked(address):
    """Ask once and give the answer's end; nothing if the connection was closed."""
    with socket.create_connection(address, timeout=5) as connection:
        try:
            connection.sendall(REQUEST)
            return connection.recv(4096)[-6:]
        except ConnectionError:
            return b""


def test_peer_with_many_silent_connections_gets_no_more_and_others_are_answered(server):
    names, address = server
    names.append("user 1")
    with ExitStack() as held:
        silent = [held.enter_context(socket.create_connection(address)) for _ in range(MAX_CONNECTIONS - 1)]
        assert asked(address) == b"user 1"
        silent.append(held.enter_context(socket.create_connection(address)))
        time.sleep(0.2)
        assert asked(address) == b""
        names[0] = "user 2"
        assert asked(address) == b"user 2"
    names[0] = "user 1"
    time.sleep(0.2)
    assert asked(address) == b"user 1"
