"""Telling brokers what members signed: the own one as it is pinned, others as the member list says that all signed."""

import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.client.organisation import OwnOrganisation
from opaque_jobs.crypto.consent import roster_refusals
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.errors import ConfigurationError, ConflictError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import BrokerPush

__all__ = ["check_answers", "push"]

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
