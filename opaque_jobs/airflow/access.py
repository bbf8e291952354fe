"""The services, opened once a process.

Airflow forks: a database connection that was opened before a fork must not be used after it.
"""

import os
from typing import Final

from opaque_jobs.services import Services, open_services
from opaque_jobs.settings import Settings

__all__ = ["services", "use_services"]

_opened: Final[dict[int, Services]] = {}


def services() -> Services:
    """Give the services of this installation, opened by this very process.

    Raises:
        ConfigurationError: `OPAQUE_JOBS_HOME` or `OPAQUE_JOBS_DATABASE_URL` cannot be used.
    """
    if os.getpid() not in _opened:
        _opened[os.getpid()] = open_services(Settings.load())
    return _opened[os.getpid()]


def use_services(opened: Services) -> None:
    """Take services that this process has opened already, instead of opening them again."""
    _opened[os.getpid()] = opened
