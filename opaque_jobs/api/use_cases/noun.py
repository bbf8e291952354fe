"""What the use cases of every noun share."""

from collections.abc import Iterable, Mapping
from typing import Any

from opaque_jobs.api.actor import Actor
from opaque_jobs.crypto.signing import claimed_key_id
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import DeniedError, InvalidInputError
from opaque_jobs.services import Services

__all__ = ["UseCases", "ordering"]


class UseCases:
    """The use cases of one noun.

    Args:
        services: Of this installation.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def _check_own(self, actor: Actor, envelope: bytes, members: Iterable[MemberEntry]) -> None:
        """Check that a statement claims to be the asker's: others' are theirs to bring.

        Raises:
            DeniedError: It is another's.
        """
        claimed = claimed_key_id(envelope)
        if claimed not in {each.key_id for each in members if each.id == actor.member_id}:
            raise DeniedError("this statement is not signed by you", hint="each member brings their own")

    def _known(self, actor: Actor) -> set[str]:
        """Return the ids of those whom the asker knows: colleagues, and whoever is in a member list with them."""
        own = self._services.workspaces.member(actor.member_id).organisation_id
        known = {each.id for each in self._services.workspaces.members(organisation_id=own)}
        for view in self._services.workspaces.list(actor=actor.member_id, archived=True):
            for roster in (view.roster, view.proposal.roster if view.proposal else None):
                known |= {each.id for each in roster.members} if roster else set()
        return known


def ordering(sort: str, orders: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return the key function of an order by its name, and whether it is reversed.

    Raises:
        InvalidInputError: The list has no such order.
    """
    name = sort.removeprefix("-")
    if name not in orders:
        raise InvalidInputError("the list has no such order", hint="one of: " + ", ".join(sorted(orders)))
    return orders[name], sort.startswith("-")
