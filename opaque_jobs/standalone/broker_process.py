"""Key brokers of one machine: which live in this home, and one of them as a child of this process."""

import time
from pathlib import Path
from typing import Final

from opaque_jobs.broker.config import claimed_config, config_path
from opaque_jobs.client.telling import check_answers
from opaque_jobs.errors import ConfigurationError
from opaque_jobs.protocol.views import OrganisationView
from opaque_jobs.services import Services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.child import Child

__all__ = ["BrokerProcess", "local_brokers"]

_START_S: Final = 30.0
_GRACE_S: Final = 8.0


def local_brokers(opened: Services) -> list[OrganisationView]:
    """Give the organisations whose broker lives in this home."""
    settings = opened.context.settings
    return [each for each in opened.workspaces.organisations() if config_path(settings.broker_dir(each.entry.id)).exists()]


class BrokerProcess:
    """One organisation's broker as a child of this process; it ends with it, however that ends.

    Args:
        settings: The installation.
        organisation: Whose broker.
    """

    def __init__(self, settings: Settings, organisation: OrganisationView) -> None:
        entry = organisation.entry
        self.organisation = entry
        self.port = claimed_config(settings.broker_dir(entry.id)).port
        self._child = Child(settings, ["broker", "serve", "--org", entry.id], log_name=f"broker-{entry.id}", grace_s=_GRACE_S)

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, passphrase: str) -> None:
        """Start it, without waiting.

        Raises:
            ConfigurationError: It cannot be started.
        """
        self._child.start(passphrase)

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises:
            ConfigurationError: It ended, or does not answer in time; the hint names its log.
            ConflictError: Another organisation's broker answers there.
        """
        deadline = time.monotonic() + _START_S
        while not self._child.ended and time.monotonic() < deadline:
            try:
                check_answers(self.address, self.organisation.id)
            except ConfigurationError:
                time.sleep(0.1)
            else:
                return
        raise ConfigurationError(
            f"the key broker of '{self.organisation.name}' did not start",
            hint=f"read the last lines of {self._child.log_path}",
            port=self.port,
        )

    @property
    def log_path(self) -> Path:
        """Its log."""
        return self._child.log_path

    @property
    def ended(self) -> bool:
        """Whether it is no longer there though it should be."""
        return self._child.ended

    def stop(self) -> None:
        """End it and wait for that."""
        self._child.stop()
