"""What every service works with: settings, the store, a clock, and the runtime's measurement."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opaque_jobs.settings import Settings

if TYPE_CHECKING:
    from opaque_jobs.store.session import Store

__all__ = ["Context", "utc_now"]


def utc_now() -> datetime:
    """Give the time now, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Shared by the services of one installation.

    Args:
        settings: Where things are.
        store: The metadata store.
        now: The clock; read once per use case.
        measurement: Gives the digest of the enclave runtime in use.
    """

    settings: Settings
    store: "Store"
    now: Callable[[], datetime]
    measurement: Callable[[], str]
