"""PySpark's worker daemon for a process namespace of its own. Runs in the nested sandbox; nothing here is trusted.

Spark looks up the process id that a worker reports, and asks the daemon to kill workers by it. Ids inside mean nothing
outside, so every worker reports the one id that is right there: that of the sandbox which all workers share.

The socket on which Spark finds the daemon was made outside and comes in open: its folder is not here, so that no function can
put another one in its place.
"""

import os
import socket
from types import SimpleNamespace
from typing import Any

from pyspark import daemon

OUTSIDE = int(os.environ["OPAQUE_JOBS_SANDBOX_PID"])
NAME = os.environ["OPAQUE_JOBS_UDF_SOCKET"]
LISTENING = int(os.environ["OPAQUE_JOBS_UDF_SOCKET_FD"])


class OutsideIds:
    """The `os` module as the daemon shall see it."""

    def __getattr__(self, name: str) -> Any:
        """Give everything else as it is."""
        return getattr(os, name)

    @staticmethod
    def getpid() -> int:
        """Give the id by which Spark knows this sandbox."""
        return OUTSIDE

    @staticmethod
    def kill(pid: int, signal: int) -> None:
        """Leave a worker that Spark gives up to notice its closed socket; signal the daemon's own group as asked."""
        if pid != OUTSIDE:
            os.kill(pid, signal)


class OpenSocket(socket.socket):
    """The socket that came in; it is bound and listens already."""

    def __init__(self, *_kind: int) -> None:
        super().__init__(fileno=LISTENING)

    def bind(self, _address: Any) -> None:
        """Leave it where it is."""

    def listen(self, _backlog: int = 0) -> None:
        """Leave it as it is."""


class OpenSockets:
    """The `socket` module as the daemon shall see it."""

    socket = OpenSocket

    def __getattr__(self, name: str) -> Any:
        """Give everything else as it is."""
        return getattr(socket, name)


if __name__ == "__main__":
    daemon.os = OutsideIds()
    daemon.socket = OpenSockets()
    daemon.uuid = SimpleNamespace(uuid4=lambda: NAME)  # of which the daemon makes the path that it tells Spark
    daemon.manager()
