"""Starting a broker: one process per organisation, on loopback."""

import errno
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvicorn

from opaque_jobs.broker.app import create_app
from opaque_jobs.broker.config import claimed_config, key_path, load_config
from opaque_jobs.broker.connections import counted_connections
from opaque_jobs.broker.hardening import close_memory, lock_memory
from opaque_jobs.broker.release import Broker
from opaque_jobs.crypto.key_files import open_broker_keys
from opaque_jobs.errors import ConfigurationError

__all__ = ["open_broker", "serve"]

_LOOPBACK: Final = "127.0.0.1"


def open_broker(folder: Path, *, passphrase: str) -> Broker:
    """Open a broker's folder.

    Raises:
        NotFoundError: There is no broker in it.
        TrustError: The passphrase is wrong, or somebody without it changed the settings.
        ConfigurationError: Its files cannot be used.
    """
    claimed_config(folder)
    keys = open_broker_keys(key_path(folder), passphrase)
    load_config(folder, keys)
    return Broker(folder, keys, clock=lambda: datetime.now(UTC))


def serve(
    folder: Path, *, passphrase: str, port: int | None = None, on_ready: Callable[[str], None] = lambda _address: None
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folder: The broker's folder.
        passphrase: Of its key file.
        port: Loopback port; None takes the one in the settings, 0 any free one.
        on_ready: Told the address once requests are queued there.

    Raises:
        ConfigurationError: The port is in use, or see `open_broker`.
    """
    close_memory()
    lock_memory()
    broker = open_broker(folder, passphrase=passphrase)
    listener = _listen(broker.config.port if port is None else port)
    with listener:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(broker),
                http=counted_connections(),
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        on_ready(f"http://{_LOOPBACK}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_LOOPBACK, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else "cannot be used"
        raise ConfigurationError(f"port {port} {reason}", hint="stop what uses it, or choose another port", port=port) from None
    return listener
