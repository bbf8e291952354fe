"""Loopback ports of this machine."""

import socket

from opaque_jobs.errors import ConfigurationError

__all__ = ["check_port", "is_free"]


def is_free(port: int) -> bool:
    """Tell whether nothing listens on 127.0.0.1 there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def check_port(port: int, what: str) -> None:
    """Check that a port is free.

    Raises:
        ConfigurationError: Something listens there.
    """
    if not is_free(port):
        raise ConfigurationError(f"port {port} of {what} is in use", hint="stop what uses it, then run this again", port=port)
