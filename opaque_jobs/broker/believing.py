"""Believing member lists: judged by `rosters` against the broker's memory, when one comes and again before every decision.

What stood against a list may be gone later: its organisation has pinned a member meanwhile or let one go, or the list before it
came after it. A broker that stayed at the list before would hold its people to a consent that is not theirs any more.
"""

from opaque_jobs.broker.rosters import Circle, roster_reasons
from opaque_jobs.broker.store import Transaction
from opaque_jobs.domain.workspace import Roster

__all__ = ["believe_roster", "newest_roster"]


def believe_roster(circle: Circle, memory: Transaction, roster: Roster) -> list[str]:
    """Make a list that is kept the newest known, if it is to be believed and later than that.

    Returns:
        The reasons why it is not to be believed.
    """
    if not memory.accepted_by_all(roster):
        return ["roster-not-accepted-by-all"]
    # Strangers can make as many lists as they like, each after the other; none is looked at further that none of ours signed.
    if not roster.key_ids & {member.key_id for member in circle.members}:
        return ["own-members-not-pinned"]
    reasons: list[str] = []
    # Whoever of our own took it back need not fear that the others complete it behind their back.
    reasons += ["held-by-owner"] if roster.digest in memory.vetoes.held() else []
    reasons += roster_reasons(roster, circle, memory.roster(roster.workspace_id), memory.accepted_list)
    if not reasons:
        memory.put_roster(roster)
    return reasons


def newest_roster(circle: Circle, memory: Transaction, workspace_id: str) -> Roster | None:
    """Give the newest list of a workspace that is to be believed now, of all that are kept; None if none ever was."""
    known = memory.roster(workspace_id)
    own = {member.key_id for member in circle.members}  # a list of our workspaces has some of ours in it, and they signed it
    for roster in memory.lists_after(workspace_id, 0 if known is None else known.epoch, accepted_by=own):
        if not believe_roster(circle, memory, roster):
            return roster
    return known
