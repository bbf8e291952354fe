"""Organisations and members known to this installation."""

from collections.abc import Iterable

from sqlalchemy import or_
from sqlalchemy.orm import Session

from opaque_jobs.errors import NotFoundError
from opaque_jobs.store.records import (
    KeyChangeRecord,
    MemberRecord,
    OrganisationRecord,
    add,
    compare_and_set,
    fetch,
    fetch_one,
)
from opaque_jobs.store.tables import KeyChangeRow, MemberRow, OrganisationRow

__all__ = [
    "add_key_change",
    "add_member",
    "add_organisation",
    "key_changes",
    "list_members",
    "list_organisations",
    "member",
    "member_by_name",
    "organisation",
    "set_address",
    "set_key",
    "set_sealing_key",
]


def add_organisation(session: Session, record: OrganisationRecord) -> None:
    """Insert an organisation."""
    add(session, OrganisationRow, record)


def organisation(session: Session, id_or_name: str) -> OrganisationRecord:
    """Give an organisation.

    Raises:
        NotFoundError: None by that id or name.
    """
    found = fetch_one(
        session,
        OrganisationRecord,
        OrganisationRow,
        or_(OrganisationRow.id == id_or_name, OrganisationRow.name == id_or_name),
    )
    if found is None:
        raise NotFoundError(f"no such organisation: '{id_or_name}'", hint="list them with 'opaque-jobs org list'")
    return found


def list_organisations(session: Session) -> list[OrganisationRecord]:
    """Give all organisations, by name."""
    return fetch(session, OrganisationRecord, OrganisationRow, order=OrganisationRow.name)


def set_address(session: Session, organisation_id: str, address: str) -> None:
    """Change where an organisation's broker answers."""
    compare_and_set(session, OrganisationRow, OrganisationRow.id == organisation_id, broker_address=address)


def add_member(session: Session, record: MemberRecord) -> None:
    """Insert a member."""
    add(session, MemberRow, record)


def member(session: Session, member_id: str) -> MemberRecord:
    """Give a member.

    Raises:
        NotFoundError: Nobody by that id.
    """
    return _known(fetch_one(session, MemberRecord, MemberRow, MemberRow.id == member_id), member_id)


def member_by_name(session: Session, name: str) -> MemberRecord:
    """Give the member with a log-in name.

    Raises:
        NotFoundError: Nobody by that name.
    """
    return _known(fetch_one(session, MemberRecord, MemberRow, MemberRow.name == name), name)


def _known(found: MemberRecord | None, wanted: str) -> MemberRecord:
    if found is None:
        raise NotFoundError(f"no such member: '{wanted}'", hint="list them with 'opaque-jobs member list'")
    return found


def list_members(session: Session, organisation_id: str | None = None) -> list[MemberRecord]:
    """Give members, of one organisation or all, by name."""
    where = () if organisation_id is None else (MemberRow.organisation_id == organisation_id,)
    return fetch(session, MemberRecord, MemberRow, *where, order=MemberRow.name)


def set_key(session: Session, member: MemberRecord, public_key: str) -> None:
    """Change a member's registered key.

    Raises:
        ConflictError: It is another one by now.
    """
    where = (MemberRow.id == member.id, MemberRow.public_key == member.public_key)
    compare_and_set(session, MemberRow, *where, public_key=public_key)


def set_sealing_key(session: Session, organisation: OrganisationRecord, sealing_key: str) -> None:
    """Change an organisation's registered sealing key.

    Raises:
        ConflictError: It is another one by now.
    """
    where = (OrganisationRow.id == organisation.id, OrganisationRow.sealing_key == organisation.sealing_key)
    compare_and_set(session, OrganisationRow, *where, sealing_key=sealing_key)


def add_key_change(session: Session, record: KeyChangeRecord) -> None:
    """Insert a verified change of key."""
    add(session, KeyChangeRow, record)


def key_changes(session: Session, owner_ids: Iterable[str]) -> list[KeyChangeRecord]:
    """Give the changes of some members' and organisations' keys, in order."""
    where = KeyChangeRow.owner_id.in_(sorted(owner_ids))
    return fetch(session, KeyChangeRecord, KeyChangeRow, where, order=(KeyChangeRow.changed_at, KeyChangeRow.new_key_id))
