"""Whose key is this: what a member knows of their own organisation without asking the services, kept in their client's memory.

Data is sealed to these keys, and only this broker's answers count as the own broker's. It is taken from the
organisation's own key files, or from what the organisation exported where those are; the metadata database is compared with
it, and believed in nothing but a new sealing key that the organisation's broker key signed for.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from opaque_jobs.client.memory import Memory, memory_path
from opaque_jobs.client.session import Session
from opaque_jobs.crypto.key_changes import check_sealing_changes
from opaque_jobs.crypto.keys import SealingPublicKey, VerifyKey
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry
from opaque_jobs.errors import InvalidInputError, NotFoundError, TrustError
from opaque_jobs.settings import Settings

__all__ = [
    "OwnOrganisation",
    "check_own_entry",
    "compared_organisation",
    "members_here",
    "organisation_of",
    "parse_own_organisation",
    "pin_organisation",
    "pinned_organisation",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOrganisation:
    """An organisation as its own members know it.

    Args:
        v: Format version, 1.
        entry: Its id, name and public keys.
        broker_address: Where its key broker answers its members.
    """

    v: int
    entry: OrganisationEntry
    broker_address: str

    def __post_init__(self) -> None:
        if self.v != 1 or not self.broker_address.startswith(("http://", "https://")):
            raise InvalidInputError(
                "an organisation's keys are not in the form of this version", hint="write them with 'opaque-jobs org export'"
            )
        SealingPublicKey.parse(self.entry.sealing_key)

    @property
    def deposit_key(self) -> SealingPublicKey:
        """What data set keys are sealed to."""
        return SealingPublicKey.parse(self.entry.broker_deposit_key)

    @property
    def broker_key(self) -> VerifyKey:
        """What the broker signs with."""
        return VerifyKey.parse(self.entry.broker_signing_key)

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)


def parse_own_organisation(data: bytes) -> OwnOrganisation:
    """Parse an exported file.

    Raises:
        InvalidInputError: Not such a file.
    """
    return from_bytes(OwnOrganisation, data, what="an organisation's keys")


def members_here(settings: Settings, organisation_id: str) -> list[str]:
    """Give the names of the members here who have this organisation pinned."""
    found = []
    for path in sorted(settings.keys_dir.glob(memory_path(settings, "*").name)):
        name = path.name.removesuffix(memory_path(settings, "").name)
        with suppress(NotFoundError):
            if organisation_of(settings, name).entry.id == organisation_id:
                found.append(name)
    return found


def pin_organisation(settings: Settings, name: str, own: OwnOrganisation) -> None:
    """Let a member believe that these are their own organisation's keys, in place of what they believed before.

    Trust: whoever says so; `own` must come from the organisation itself.

    Raises:
        ConfigurationError: It cannot be kept.
    """
    Memory(memory_path(settings, name)).remember_organisation(own.to_bytes())


def organisation_of(settings: Settings, name: str) -> OwnOrganisation:
    """Give what the member of this name here knows of their organisation. Raises `NotFoundError` if they were told nothing."""
    kept = Memory(memory_path(settings, name)).organisation()
    if kept is None:
        raise NotFoundError(
            f"'{name}' does not know the keys of their own organisation here",
            hint="where its broker lives: 'opaque-jobs org export ORG --to FILE'; here: 'opaque-jobs member trust MEMBER FILE'",
        )
    return parse_own_organisation(kept)


def pinned_organisation(settings: Settings, member: MemberEntry) -> OwnOrganisation:
    """Give what a member knows of their organisation.

    Args:
        settings: Of this home.
        member: As the services name them.

    Raises:
        NotFoundError: The member was told nothing yet.
        TrustError: The services say that the member is of another organisation.
    """
    own = organisation_of(settings, member.name)
    if member.organisation_id != own.entry.id:
        raise TrustError(
            f"the database says that '{member.name}' is of another organisation than the one whose keys are pinned here",
            hint="nothing was sent; was the metadata database changed?",
        )
    return own


def compared_organisation(session: Session, member: MemberEntry) -> OwnOrganisation:
    """Return what a member knows of their organisation after comparing it with what the coordinator shows.

    A new sealing key that was signed for is pinned.

    Raises:
        NotFoundError: The member was told nothing yet, or the coordinator shows no such organisation.
        TrustError: Other keys are shown, and nobody signed for them who may.
    """
    own = pinned_organisation(session.settings, member)
    shown = next((each.entry for each in session.people.organisations(organisation_id=(own.entry.id,)).items), None)
    if shown is None:
        raise NotFoundError("no such organisation", hint="list them with 'opaque-jobs org list'")
    if shown == own.entry:
        return own
    try:
        check_sealing_changes(own.entry, shown, session.keys.signed_changes(owner_id=(own.entry.id,)))
    except TrustError:
        raise _others(own) from None
    own = replace(own, entry=shown)
    pin_organisation(session.settings, member.name, own)
    return own


def check_own_entry(own: OwnOrganisation, entry: OrganisationEntry) -> None:
    """Check that a member list names the own organisation by its true keys.

    Raises:
        TrustError: It does not.
    """
    if entry != own.entry:
        raise _others(own)


def _others(own: OwnOrganisation) -> TrustError:
    return TrustError(
        f"other keys are shown for your own organisation '{own.entry.name}' than those that are pinned here",
        hint="sign and send nothing: was the metadata database changed? 'opaque-jobs member trust' pins what your organisation "
        "exported",
    )
