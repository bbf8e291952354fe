"""What a member's own client remembers of member lists: the last one that it signed, for each workspace.

A database may hide every list that somebody signed, and so make a newcomer of them, who has nothing to compare keys with.
"""

from dataclasses import dataclass
from pathlib import Path

from opaque_jobs.cli.own_memory import read_own, write_own
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import TrustError
from opaque_jobs.settings import Settings

__all__ = ["last_signed", "remember_list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    workspace_id: str
    digest: str
    roster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    v: int
    lists: tuple[_Signed, ...]


def last_signed(settings: Settings, member: MemberEntry, workspace_id: str) -> Roster | None:
    """Give the last member list of a workspace that a member's client signed; None if it never signed one.

    Raises:
        ConfigurationError: What is remembered cannot be read.
        InvalidInputError: It is damaged.
        TrustError: It is not what was signed.
    """
    for each in _kept(settings, member).lists:
        if each.workspace_id == workspace_id:
            if digest(each.roster.encode()) != each.digest:
                raise TrustError("the member list that is kept beside your key is not the one you signed", hint="was it changed?")
            return parse_roster(each.roster.encode())
    return None


def remember_list(settings: Settings, member: MemberEntry, roster: Roster) -> None:
    """Keep the member list that a member signs, before the signature leaves. Raises as `last_signed`."""
    signed = _Signed(workspace_id=roster.workspace_id, digest=roster.digest, roster=roster.to_bytes().decode())
    others = [each for each in _kept(settings, member).lists if each.workspace_id != roster.workspace_id]
    write_own(_path(settings, member), _Kept(v=1, lists=(*others, signed)))


def _kept(settings: Settings, member: MemberEntry) -> _Kept:
    return read_own(_path(settings, member), _Kept, _Kept(v=1, lists=()))


def _path(settings: Settings, member: MemberEntry) -> Path:
    return settings.keys_dir / f"{member.name}.lists.json"
