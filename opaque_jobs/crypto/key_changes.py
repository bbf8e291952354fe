"""Key changes: who may say that a key is the next one, and whether a proposed member list changes keys on such a word.

A member's former signing key may, and the organisation's broker key, which is the organisation's hand (for a lost key). A
sealing key cannot sign, so the broker key speaks for the next one. A new signing key signs too: nobody claims another's key.

Trust: the starting point is the member list that the asker has accepted. A lost key's change rests on the organisation alone:
whoever holds its broker key file and the passphrase can name any key as one of its members'.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from opaque_jobs.crypto.keys import SealingPublicKey, Signer, VerifyKey
from opaque_jobs.crypto.signing import claimed_key_id, sign_statement, verify_statement
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.domain.key_change import Authority, KeyChange, KeyUse, NamedChange
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster, decode_key, key_id
from opaque_jobs.errors import OpaqueJobsError, TrustError

__all__ = [
    "KEY_CHANGE",
    "SignedChange",
    "check_sealing_changes",
    "explained_changes",
    "sign_key_change",
    "verify_member_change",
    "verify_sealing_change",
]

KEY_CHANGE: Final = "urn:opaque-jobs:key-change:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedChange:
    """A key change as it is kept and sent.

    Args:
        word: Signed by the former key or the organisation's broker key.
        possession: The same, signed by the new key; None for sealing keys.
    """

    word: bytes
    possession: bytes | None


def sign_key_change(*, owner_id: str, use: KeyUse, old_key_id: str, new_key: str, signer: Signer, now: datetime) -> bytes:
    """Sign that a key is the next one of a member or organisation."""
    change = KeyChange(owner_id=owner_id, use=use, old_key_id=old_key_id, new_key=new_key, changed_at=now.isoformat())
    return sign_statement(
        signer, predicate_type=KEY_CHANGE, subject_name=owner_id, subject_digest=change.new_key_id, predicate=to_json(change)
    )


def verify_member_change(
    signed: SignedChange, member: MemberEntry, organisation: OrganisationEntry
) -> tuple[KeyChange, Authority]:
    """Verify the change of a member's signing key.

    Args:
        signed: Untrusted.
        member: With the key before, from trusted context.
        organisation: The member's, from trusted context.

    Raises:
        InvalidInputError: It is no key change.
        TrustError: It is by somebody else, of another member or key, or does not hold.
    """
    # 1. The word of the key before, or of the member's own organisation.
    authorities = {
        member.key_id: (VerifyKey.parse(member.public_key), Authority.FORMER_KEY),
        key_id(decode_key(organisation.broker_signing_key)): (
            VerifyKey.parse(organisation.broker_signing_key),
            Authority.ORGANISATION,
        ),
    }
    known = authorities.get(claimed_key_id(signed.word))
    if known is None or member.organisation_id != organisation.id:
        raise TrustError("a key change is signed by nobody who may say so", hint="the key before signs it, or the organisation")
    key, authority = known
    change = _verified(signed.word, key, owner_id=member.id, use=KeyUse.SIGNING, old_key_id=member.key_id)
    # 2. Whoever brings the new key holds it.
    if signed.possession is None:
        raise TrustError("a key change is not signed by the new key", hint="change the key again")
    held = _verified(
        signed.possession, VerifyKey.parse(change.new_key), owner_id=member.id, use=KeyUse.SIGNING, old_key_id=member.key_id
    )
    if held.new_key != change.new_key:
        raise TrustError("a key change names two new keys", hint="change the key again")
    return change, authority


def verify_sealing_change(signed: SignedChange, organisation: OrganisationEntry) -> KeyChange:
    """Verify the change of an organisation's sealing key. Arguments and errors as `verify_member_change`."""
    key = VerifyKey.parse(organisation.broker_signing_key)
    change = _verified(signed.word, key, owner_id=organisation.id, use=KeyUse.SEALING, old_key_id=organisation.sealing_key_id)
    SealingPublicKey.parse(change.new_key)
    return change


def _verified(envelope: bytes, key: VerifyKey, *, owner_id: str, use: KeyUse, old_key_id: str) -> KeyChange:
    statement = verify_statement(envelope, key, predicate_type=KEY_CHANGE)
    change = from_json(KeyChange, statement.predicate, what="key change")
    if (change.owner_id, change.use, change.old_key_id) != (owner_id, use, old_key_id):
        raise TrustError("a key change is of another key or owner", hint="change the key again")
    if statement.subject_digest != change.new_key_id:
        raise TrustError("a key change names another key than it is about", hint="change the key again")
    return change


def check_sealing_changes(former: OrganisationEntry, wanted: OrganisationEntry, signed: Iterable[SignedChange]) -> None:
    """Check that signed changes lead from one sealing key of an organisation to another, and that nothing else differs.

    Args:
        former: From trusted context.
        wanted: Untrusted.
        signed: Untrusted; those that do not hold explain nothing.

    Raises:
        TrustError: They do not.
    """
    if not _sealing_chain(former, wanted, list(signed)):
        raise _unexplained(former.name)


def explained_changes(before: Roster, proposed: Roster, signed: Iterable[SignedChange]) -> tuple[NamedChange, ...]:
    """Give the keys that a proposed member list changes, each on somebody's word who may say so.

    Args:
        before: The list that the asker has accepted.
        proposed: The list that waits for the asker's signature.
        signed: Key changes, untrusted; those that do not hold explain nothing.

    Raises:
        TrustError: A key changes that nobody signed for who may, or one of a broker's.
    """
    known, named = list(signed), []
    organisations = {each.id: each for each in before.organisations}
    members = {each.id: each for each in before.members}
    for entry in proposed.organisations:
        former = organisations.get(entry.id)
        if former is None or former == entry:
            continue
        if not _sealing_chain(former, entry, known):
            raise _unexplained(entry.name)
        named.append(NamedChange(name=entry.name, use=KeyUse.SEALING, authority=Authority.ORGANISATION))
    for member in proposed.members:
        earlier = members.get(member.id)
        if earlier is None or earlier == member:
            continue
        authority = _signing_chain(earlier, member, organisations[earlier.organisation_id], known)
        if authority is None:
            raise _unexplained(member.name)
        named.append(NamedChange(name=member.name, use=KeyUse.SIGNING, authority=authority))
    return tuple(named)


def _unexplained(name: str) -> TrustError:
    return TrustError(
        f"the waiting member list changes a key of '{name}', and nobody signed for it who may",
        hint="do not accept it: ask them by another way, then 'opaque-jobs workspace cancel'",
    )


def _sealing_chain(former: OrganisationEntry, wanted: OrganisationEntry, signed: list[SignedChange]) -> bool:
    """Tell whether signed changes lead from one sealing key to another, all else being the same."""
    at, left = former, list(signed)
    while at != wanted:
        for each in left:
            try:
                at = replace(at, sealing_key=verify_sealing_change(each, at).new_key)
            except OpaqueJobsError:
                continue
            left.remove(each)
            break
        else:
            return False
    return True


def _signing_chain(
    former: MemberEntry, wanted: MemberEntry, organisation: OrganisationEntry, signed: list[SignedChange]
) -> Authority | None:
    """Give on whose word signed changes lead from one signing key to another; the organisation's if one step is on that."""
    at, left, found = former, list(signed), Authority.FORMER_KEY
    while at != wanted:
        for each in left:
            try:
                change, authority = verify_member_change(each, at, organisation)
            except OpaqueJobsError:
                continue
            at = replace(at, public_key=change.new_key)
            found = authority if authority is Authority.ORGANISATION else found
            left.remove(each)
            break
        else:
            return None
    return found
