"""Other keys for members and organisations: registered on the word of who may say so, proposed to all workspaces, explained.

The registration here is for those who use this installation. Members of other organisations do not rely on it: before they sign a
member list with another key in it, their own command verifies the same signatures against the list that they accepted before.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from opaque_jobs.crypto.key_changes import SignedChange, verify_member_change, verify_sealing_change
from opaque_jobs.domain.key_change import KeyChange
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.views import OrganisationView
from opaque_jobs.services.access import member_entry, organisation_view
from opaque_jobs.services.context import Context
from opaque_jobs.store import events, people
from opaque_jobs.store.records import KeyChangeRecord

__all__ = ["KeyChanges"]


class KeyChanges:
    """Use cases about changing keys."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def change_member_key(self, member_id: str, *, signed: SignedChange) -> MemberEntry:
        """Register a member's next signing key.

        Raises:
            ConflictError: The key is another member's, or was this member's before, or changed meanwhile.
            TrustError: Nobody signed for it who may, or the new key did not.
        """
        with self._context.store.write() as session:
            record = people.member(session, member_id)
            organisation = organisation_view(people.organisation(session, record.organisation_id)).entry
            change, authority = verify_member_change(signed, member_entry(record), organisation)
            self._keep(session, change, signed, noun="member", authority=authority.value)
            people.set_key(session, record, change.new_key)
            return member_entry(people.member(session, member_id))

    def change_sealing_key(self, organisation_id: str, *, signed: SignedChange) -> OrganisationView:
        """Register an organisation's next sealing key.

        Raises:
            ConflictError: It had this key before, or changed it meanwhile.
            TrustError: Its broker key did not sign for it.
        """
        with self._context.store.write() as session:
            record = people.organisation(session, organisation_id)
            change = verify_sealing_change(signed, organisation_view(record).entry)
            self._keep(session, change, signed, noun="organisation", authority="organisation")
            people.set_sealing_key(session, record, change.new_key)
            return organisation_view(people.organisation(session, organisation_id))

    def signed_changes(self, owner_ids: Sequence[str]) -> tuple[SignedChange, ...]:
        """Give the signed changes of some members' and organisations' keys, in order."""
        with self._context.store.read() as session:
            return tuple(
                SignedChange(word=each.word, possession=each.possession) for each in people.key_changes(session, owner_ids)
            )

    def _keep(self, session: Session, change: KeyChange, signed: SignedChange, *, noun: str, authority: str) -> None:
        if change.new_key_id in {
            change.old_key_id,
            *(each.old_key_id for each in people.key_changes(session, [change.owner_id])),
        }:
            raise ConflictError("this key was in use before", hint="make a fresh one")
        now = self._context.now()
        people.add_key_change(
            session,
            KeyChangeRecord(
                owner_id=change.owner_id,
                new_key_id=change.new_key_id,
                old_key_id=change.old_key_id,
                word=signed.word,
                possession=signed.possession,
                changed_at=now,
            ),
        )
        events.append(
            session, noun=noun, subject_id=change.owner_id, event="change-key", actor=None, now=now, authority=authority
        )
