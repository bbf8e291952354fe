"""What a member's own client remembers of member lists: the last one that it signed, for each workspace, and those taken back.

A database may hide every list that somebody signed, and so make a newcomer of them, who has nothing to compare keys with.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from opaque_jobs.cli.own_memory import read_own, write_own
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import TrustError
from opaque_jobs.settings import Settings

__all__ = [
    "TakenBack",
    "forget_taken_back",
    "last_signed",
    "lists_taken_back",
    "remember_hold",
    "remember_list",
    "remember_taken_back",
    "signed_lists",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    workspace_id: str
    digest: str
    roster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A member list that a member signed and took back.

    Args:
        workspace_id: Whose list.
        digest: Which.
        hold: The envelope that tells the own broker never to believe it.
    """

    workspace_id: str
    digest: str
    hold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    v: int
    lists: tuple[_Signed, ...]
    taken_back: tuple[TakenBack, ...]


def last_signed(settings: Settings, member: MemberEntry, workspace_id: str) -> Roster | None:
    """Give the last member list of a workspace that a member's client signed; None if it never signed one.

    Raises:
        ConfigurationError: What is remembered cannot be read.
        InvalidInputError: It is damaged.
        TrustError: It is not what was signed.
    """
    return next((each for each in signed_lists(settings, member) if each.workspace_id == workspace_id), None)


def signed_lists(settings: Settings, member: MemberEntry) -> tuple[Roster, ...]:
    """Give the last member list of every workspace that a member's client signed. Raises as `last_signed`."""
    found = []
    for each in _kept(settings, member).lists:
        if digest(each.roster.encode()) != each.digest:
            raise TrustError("the member list that is kept beside your key is not the one you signed", hint="was it changed?")
        found.append(parse_roster(each.roster.encode()))
    return tuple(found)


def remember_list(settings: Settings, member: MemberEntry, roster: Roster) -> None:
    """Keep the member list that a member signs, before the signature leaves. Raises as `last_signed`."""
    signed = _Signed(workspace_id=roster.workspace_id, digest=roster.digest, roster=roster.to_bytes().decode())
    kept = _kept(settings, member)
    others = [each for each in kept.lists if each.workspace_id != roster.workspace_id]
    write_own(_path(settings, member), replace(kept, lists=(*others, signed)))


def lists_taken_back(settings: Settings, member: MemberEntry) -> tuple[TakenBack, ...]:
    """Give the lists that a member took back. Raises as `last_signed`."""
    return _kept(settings, member).taken_back


def remember_taken_back(settings: Settings, member: MemberEntry, roster: Roster, hold: bytes) -> TakenBack:
    """Keep that a list was taken back, before anybody is told. Raises as `last_signed`."""
    kept = _kept(settings, member)
    said = TakenBack(workspace_id=roster.workspace_id, digest=roster.digest, hold=hold.decode())
    others = [each for each in kept.taken_back if each.digest != roster.digest]
    write_own(_path(settings, member), replace(kept, taken_back=(*others, said)))
    return said


def remember_hold(settings: Settings, member: MemberEntry, roster_digest: str, hold: bytes) -> None:
    """Keep a newer envelope about a list that was taken back, if it is one. Raises as `last_signed`."""
    kept = _kept(settings, member)
    newer = tuple(replace(each, hold=hold.decode()) if each.digest == roster_digest else each for each in kept.taken_back)
    write_own(_path(settings, member), replace(kept, taken_back=newer))


def forget_taken_back(settings: Settings, member: MemberEntry, roster_digest: str) -> None:
    """Let a list be signed and believed again: it was in force already, or its hold is lifted. Raises as `last_signed`."""
    kept = _kept(settings, member)
    write_own(
        _path(settings, member),
        replace(kept, taken_back=tuple(each for each in kept.taken_back if each.digest != roster_digest)),
    )


def _kept(settings: Settings, member: MemberEntry) -> _Kept:
    return read_own(_path(settings, member), _Kept, _Kept(v=1, lists=(), taken_back=()))


def _path(settings: Settings, member: MemberEntry) -> Path:
    return settings.keys_dir / f"{member.name}.lists.json"
