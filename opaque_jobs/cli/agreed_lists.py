"""The member lists that a member's own client has seen signed by all, this member with them.

A database may hide a list or show another; this file does not. It lies beside the member's key; nobody else writes it. Lists of
earlier epochs are kept too: a broker that is shown the last one asks for all before it.
"""

from dataclasses import dataclass
from pathlib import Path

from opaque_jobs.cli.own_memory import read_own, write_own
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.settings import Settings

__all__ = ["AgreedList", "agreed_list", "agreed_lists", "keep_list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedList:
    """A member list with everybody's signature.

    Args:
        text: Its canonical JSON text.
        acceptances: One by each member in it.
    """

    text: str
    acceptances: tuple[str, ...]

    @property
    def roster(self) -> Roster:
        """What it says."""
        return parse_roster(self.text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    v: int
    lists: tuple[AgreedList, ...]


def agreed_lists(settings: Settings, member: MemberEntry) -> tuple[AgreedList, ...]:
    """Give all lists, those of a workspace by epoch.

    Raises:
        ConfigurationError: What is kept cannot be read.
        InvalidInputError: It is damaged.
    """
    return read_own(_path(settings, member), _Kept, _Kept(v=1, lists=())).lists


def agreed_list(settings: Settings, member: MemberEntry, workspace_id: str) -> AgreedList | None:
    """Give the last list of a workspace; None if this member's client never saw one. Raises as `agreed_lists`."""
    found = [each for each in agreed_lists(settings, member) if each.roster.workspace_id == workspace_id]
    return found[-1] if found else None


def keep_list(settings: Settings, member: MemberEntry, roster: Roster, acceptances: tuple[bytes, ...]) -> None:
    """Keep a list after those of earlier epochs; the caller has verified that all signed it. Later ones, and an equal one, stay.

    Raises:
        ConfigurationError: It cannot be read or written.
        InvalidInputError: What is kept is damaged.
    """
    kept = agreed_lists(settings, member)
    fresh = AgreedList(text=roster.to_bytes().decode(), acceptances=tuple(each.decode() for each in acceptances))
    if fresh.text in {each.text for each in kept}:
        return
    write_own(_path(settings, member), _Kept(v=1, lists=tuple(sorted([*kept, fresh], key=lambda each: each.roster.epoch))))


def _path(settings: Settings, member: MemberEntry) -> Path:
    return settings.keys_dir / f"{member.name}.agreed.json"
