"""The member lists that a member's own client has seen signed by all, this member with them: the last one of each workspace.

A database may hide a list or show another; this file does not. It lies beside the member's key; nobody else writes it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.document import from_json, to_bytes
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import ConfigurationError
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
    """Give the last list of each workspace.

    Raises:
        ConfigurationError: What is kept cannot be read.
        InvalidInputError: It is damaged.
    """
    path = _path(settings, member)
    try:
        return from_json(_Kept, parse_json(path.read_bytes(), what=path.name), what=path.name).lists
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}", hint="check who owns it") from None


def agreed_list(settings: Settings, member: MemberEntry, workspace_id: str) -> AgreedList | None:
    """Give the last list of a workspace; None if this member's client never saw one. Raises as `agreed_lists`."""
    return next((each for each in agreed_lists(settings, member) if each.roster.workspace_id == workspace_id), None)


def keep_list(settings: Settings, member: MemberEntry, roster: Roster, acceptances: tuple[bytes, ...]) -> None:
    """Keep a list in place of an earlier one of its workspace; the caller has verified that all signed it. Later ones stay.

    Raises:
        ConfigurationError: It cannot be read or written.
        InvalidInputError: What is kept is damaged.
    """
    kept = agreed_lists(settings, member)
    before = next((each.roster for each in kept if each.roster.workspace_id == roster.workspace_id), None)
    if before is not None and (before.epoch > roster.epoch or before == roster):
        return
    others = [each for each in kept if each.roster.workspace_id != roster.workspace_id]
    fresh = AgreedList(text=roster.to_bytes().decode(), acceptances=tuple(each.decode() for each in acceptances))
    path = _path(settings, member)
    written = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    write_new_private_file(written, to_bytes(_Kept(v=1, lists=(*others, fresh))))
    written.replace(path)


def _path(settings: Settings, member: MemberEntry) -> Path:
    return settings.keys_dir / f"{member.name}.agreed.json"
