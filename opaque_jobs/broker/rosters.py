"""Which member list a broker believes, pure: its own people and keys as it knows them, and the lists before, one by one.

A list names the one before it, back to the workspace's first, and all in a list have signed it. So a broker that knows one, or
none, goes back over every epoch in between: a list may not leave out any of its own people who stood in one of those, unless
their organisation has let them go.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opaque_jobs.domain.workspace import MemberEntry, Roster

__all__ = ["Circle", "roster_reasons"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """A broker and its own people, as it knows them without being told by anybody else.

    Args:
        organisation_id: Whose broker it is.
        deposit_key: Its own public deposit key (base64).
        signing_key: Its own public signing key (base64).
        members: Pinned members of the organisation.
    """

    organisation_id: str
    deposit_key: str
    signing_key: str
    members: tuple[MemberEntry, ...]

    @property
    def own_ids(self) -> frozenset[str]:
        """Ids of the pinned members."""
        return frozenset(member.id for member in self.members)


def roster_reasons(roster: Roster, circle: Circle, known: Roster | None, earlier: Callable[[str], Roster | None]) -> list[str]:
    """Give the reasons why a member list cannot be the workspace's as a broker knows it. Its acceptances are the caller's.

    Args:
        roster: The list.
        circle: The broker's own people and keys.
        known: The newest list that it has believed; None if it never saw one.
        earlier: Gives a list by its digest, if all in it have accepted it.
    """
    reasons = []
    # 1. Our own people stand in it with the keys that we pinned, and nobody else stands in it as ours, or as one of them.
    pinned = {_identity(member) for member in circle.members}
    ours = [each for each in roster.members if each.organisation_id == circle.organisation_id or each.id in circle.own_ids]
    if not {_identity(member) for member in ours} <= pinned:
        reasons.append("own-members-not-pinned")
    # 2. It names this very broker.
    entries = [each for each in roster.organisations if each.id == circle.organisation_id]
    if [(each.broker_deposit_key, each.broker_signing_key) for each in entries] != [(circle.deposit_key, circle.signing_key)]:
        reasons.append("roster-names-another-broker")
    # 3. It follows the newest one known, or is the first or follows that, with no epoch left out.
    before, reason = _before(roster, known, earlier)
    if reason is not None:
        reasons.append(reason)
    # 4. None of our own people was left out behind their back: whoever leaves is unpinned by us first.
    stood = {member.id for each in before for member in each.members}
    if not circle.own_ids & stood <= {member.id for member in roster.members}:
        reasons.append("own-member-left-out")
    return reasons


def _identity(member: MemberEntry) -> tuple[str, str, str]:
    """Give what makes a member; names are for people only."""
    return member.id, member.public_key, member.organisation_id


def _before(roster: Roster, known: Roster | None, earlier: Callable[[str], Roster | None]) -> tuple[list[Roster], str | None]:
    """Give the lists before this one, back to the known one or to the first, as far as they are there; and what is wrong."""
    if known is not None and roster.genesis_digest != known.genesis_digest:
        return [], "roster-of-another-workspace"
    if known is not None and roster.epoch < known.epoch:
        return [], "roster-outdated"
    found = [roster]
    while found[-1].epoch > (1 if known is None else known.epoch):
        at = found[-1]
        last = known if known is not None and at.epoch == known.epoch + 1 else earlier(at.previous or "")
        if last is None or (last.workspace_id, last.epoch) != (at.workspace_id, at.epoch - 1):
            return found[1:], "roster-gap"
        if (last.digest, last.genesis_digest) != (at.previous, at.genesis_digest):
            return found[1:], "roster-conflict"
        found.append(last)
    return found[1:], None if known is None or found[-1].digest == known.digest else "roster-conflict"
