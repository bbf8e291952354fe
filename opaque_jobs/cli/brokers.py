"""Key brokers, as the command line meets them: telling them what members signed, and running one per organisation."""

import functools
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from opaque_jobs.broker.config import claimed_config, config_path
from opaque_jobs.cli.own_organisation import OwnOrganisation
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.consent import roster_refusals
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.errors import ConfigurationError, ConflictError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import BrokerPush, OrganisationView
from opaque_jobs.services import Services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.child import Child

__all__ = ["BrokerProcess", "check_answers", "local_brokers", "push"]

_START_S: Final = 30.0
_GRACE_S: Final = 8.0
_PROBE_S: Final = 2.0


def check_answers(address: str, organisation_id: str) -> None:
    """Check that the broker of this organisation answers there.

    Raises:
        ConfigurationError: Nobody answers.
        ConflictError: It is another organisation's.
    """
    with BrokerClient(address, timeout_s=_PROBE_S) as client:
        if client.health().get("organisation_id") != organisation_id:
            raise ConflictError(f"another organisation's key broker answers at {address}", hint="give each its own port")


def push(
    statements: BrokerPush,
    own: OwnOrganisation | None,
    *,
    keys: Collection[str] = (),
    sharings: Sequence[bytes] = (),
    only: str | None = None,
) -> None:
    """Send what members signed to every broker of the workspace.

    Args:
        statements: The member list in force, and withdrawals.
        own: Whose broker is reached where its members were told; None, and where the services say, for housekeeping alone.
        keys: Ids of the own signing keys, from the key files here: with `own`, other brokers are told of no list without one.
        sharings: Sharing statements too.
        only: Just this organisation's broker.

    Raises:
        ConfigurationError: One cannot be reached; the others have been told.
        TrustError: One does not believe it, or does not prove to be the broker of the member list; the others have been told. Or
            the member list does not hold, and only the own broker was told.
    """
    refused: list[OpaqueJobsError] = []
    unreachable: list[ConfigurationError] = []
    for address, key in _reached(statements, own, keys, only, refused):
        try:
            with BrokerClient(address) as client:
                client.push(
                    key=key,
                    roster=statements.roster,
                    acceptances=statements.acceptances,
                    earlier=statements.earlier,
                    withdrawals=statements.withdrawals,
                    sharings=sharings,
                )
        except ConfigurationError as error:
            unreachable.append(error)
        except OpaqueJobsError as error:
            refused.append(error)
    problems = list(refused)
    if unreachable:
        away = ConfigurationError(
            unreachable[0].message,
            hint="start it ('opaque-jobs up'), then run 'opaque-jobs workspace tell-brokers'",
            brokers=len(unreachable),
        )
        problems.append(away)
    if problems:
        raise functools.reduce(OpaqueJobsError.also, problems)


def _reached(
    statements: BrokerPush, own: OwnOrganisation | None, keys: Collection[str], only: str | None, refused: list[OpaqueJobsError]
) -> Iterator[tuple[str, VerifyKey]]:
    """Give where each broker answers and the key that it must sign with: of the own one as pinned, of others as in the list.

    Which brokers there are says the list that everybody signed, this member with a key of their own, not the services; they say
    only where the others answer.
    """
    addresses = {each.organisation_id: each.address for each in statements.targets}
    if own is not None and only in (None, own.entry.id):
        yield own.broker_address, own.broker_key
    if own is not None and only == own.entry.id:
        return
    roster = parse_roster(statements.roster)
    mine = {each.key_id for each in roster.members if own and each.organisation_id == own.entry.id}
    if roster_refusals(roster, statements.acceptances) or (own and mine.isdisjoint(keys)):
        refused.append(
            TrustError("the member list is not one that you and all its members signed", hint="was the database changed?")
        )
        return
    for each in roster.organisations:
        if only in (None, each.id) and not (own and each.id == own.entry.id):
            yield addresses.get(each.id, ""), VerifyKey.parse(each.broker_signing_key)


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
