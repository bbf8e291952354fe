"""Who belongs to a workspace: the roster of one membership epoch.

A roster is in force when every member in it has signed an acceptance over its digest (`crypto.consent` checks that). Each
change of members or of a member's key makes the next epoch, linked to the one before and to the first.

A roster is compared with once for every member and statement, so what follows from it alone is made once for each object. It
cannot grow stale: nothing in a roster can be changed, down to the last field, and a changed copy (`replace`) is another object.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from opaque_jobs.domain.approval_rule import ApprovalGroup, ApprovalRule, check_groups
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.ids import check_name
from opaque_jobs.errors import InvalidInputError, NotFoundError

__all__ = [
    "MemberEntry",
    "OrganisationEntry",
    "Roster",
    "RosterAcceptance",
    "RunPolicy",
    "decode_key",
    "key_id",
    "parse_roster",
]


def decode_key(text: str) -> bytes:
    """Give the raw bytes of a base64 public key.

    Raises:
        InvalidInputError: Not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("a public key is not valid base64", hint="was the key copied whole?") from None


def key_id(raw: bytes) -> str:
    """Give the id of a public key: `sha256:<hex>` over its raw bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


MAX_MEMBERS: Final = 500
"""In one member list: whoever is shown one verifies as many signatures."""


class RunPolicy(StrEnum):
    """Who may run an accepted job."""

    AUTHOR = "author"
    ALL_MEMBERS = "all_members"
    NAMED_MEMBERS = "named_members"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationEntry:
    """An organisation as the workspace's members know it.

    Args:
        id: Its id.
        name: Its name.
        sealing_key: X-Wing public key (base64) to which results are sealed.
        broker_deposit_key: X-Wing public key (base64) of its broker.
        broker_signing_key: Ed25519 public key (base64) with which its broker signs attestation results.
    """

    id: str
    name: str
    sealing_key: str
    broker_deposit_key: str
    broker_signing_key: str

    def __post_init__(self) -> None:
        check_name(self.name, what="organisation")

    @property
    def sealing_key_id(self) -> str:
        """Key id of the sealing key."""
        return key_id(decode_key(self.sealing_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEntry:
    """A member with the key that speaks for them.

    Args:
        id: The member's id.
        name: Log-in name.
        organisation_id: The organisation that they belong to.
        public_key: Ed25519 public key, 32 raw bytes as base64.
    """

    id: str
    name: str
    organisation_id: str
    public_key: str

    def __post_init__(self) -> None:
        check_name(self.name, what="member")
        if len(decode_key(self.public_key)) != 32:
            raise InvalidInputError(
                "a member's public key is not an Ed25519 key", hint="make one with 'opaque-jobs member create'"
            )

    @property
    def key_id(self) -> str:
        """Key id of the signing key."""
        return key_id(decode_key(self.public_key))


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The members of a workspace in one epoch, and the rules they agreed on.

    Args:
        v: Format version, 1.
        workspace_id: The workspace.
        name: Its name, 1-50 characters.
        epoch: 1 for the first, then one more each time.
        genesis: Digest of the roster of epoch 1; None in that one.
        previous: Digest of the roster before; None in epoch 1.
        members: By id, ascending.
        organisations: By id, ascending; exactly those that the members belong to.
        run_policy: Who may run accepted jobs.
        runners: Member ids, for `NAMED_MEMBERS` only.
        approval_groups: Whose approvals a job needs, by name, ascending; none means everybody's.
        log_key: Ed25519 public key (base64) with which the workspace's log signs its checkpoints.
        nonce: 128 random bits, hex: what was taken back and is proposed again is another list, which asks for signatures anew.

    Raises:
        InvalidInputError: An invariant does not hold.
    """

    v: int
    workspace_id: str
    name: str
    epoch: int
    genesis: str | None
    previous: str | None
    members: tuple[MemberEntry, ...]
    organisations: tuple[OrganisationEntry, ...]
    run_policy: RunPolicy
    runners: tuple[str, ...]
    approval_groups: tuple[ApprovalGroup, ...]
    log_key: str
    nonce: str

    def __post_init__(self) -> None:
        check_name(self.name, what="workspace")
        member_ids = [member.id for member in self.members]
        organisation_ids = [organisation.id for organisation in self.organisations]
        sound = (
            self.v == 1
            and self.epoch >= 1
            and (self.epoch == 1) == (self.previous is None) == (self.genesis is None)
            and self.genesis != ""
            and self.previous != ""
            and 0 < len(member_ids) <= MAX_MEMBERS
            and member_ids == sorted(set(member_ids))
            and len(self._by_key) == len(member_ids)
            and organisation_ids == sorted(set(organisation_ids))
            and {member.organisation_id for member in self.members} == set(organisation_ids)
            and set(self.runners) <= set(member_ids)
            and bool(self.runners) == (self.run_policy is RunPolicy.NAMED_MEMBERS)
            and len(decode_key(self.log_key)) == 32
            and len(self.nonce) == 32
        )
        if not sound:
            raise InvalidInputError(
                "the workspace's member list is not consistent",
                hint=f"at most {MAX_MEMBERS} members, each once with a key of their own, by id; only their organisations",
            )
        check_groups(self.approval_groups, member_ids)

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)

    @cached_property
    def digest(self) -> str:
        """Digest of the canonical bytes: what members sign."""
        return digest(self.to_bytes())

    @property
    def genesis_digest(self) -> str:
        """Digest of the first roster: the workspace's identity in approvals."""
        return self.genesis or self.digest

    @cached_property
    def _by_key(self) -> Mapping[str, MemberEntry]:
        return {member.key_id: member for member in self.members}

    @property
    def key_ids(self) -> frozenset[str]:
        """Key ids of all members: what unanimity is compared with."""
        return frozenset(self._by_key)

    def speaker(self, key_id: str) -> MemberEntry | None:
        """Give the member for whom a key speaks; None if it is nobody's here."""
        return self._by_key.get(key_id)

    @property
    def approval_rule(self) -> ApprovalRule:
        """How jobs are consented to."""
        return ApprovalRule.GROUPS if self.approval_groups else ApprovalRule.UNANIMOUS

    def member(self, member_id: str) -> MemberEntry:
        """Give a member by id.

        Raises:
            NotFoundError: Nobody by that id.
        """
        for member in self.members:
            if member.id == member_id:
                return member
        raise NotFoundError("no such member in this workspace", hint="list them with 'opaque-jobs workspace show'")

    def organisation(self, organisation_id: str) -> OrganisationEntry:
        """Give an organisation by id.

        Raises:
            NotFoundError: None by that id.
        """
        for organisation in self.organisations:
            if organisation.id == organisation_id:
                return organisation
        raise NotFoundError("no such organisation in this workspace", hint="see 'opaque-jobs workspace show'")

    def may_run(self, member_id: str, *, author_id: str) -> bool:
        """Tell whether a member may run, rerun and cancel runs of a job by this author."""
        if member_id not in {member.id for member in self.members}:
            return False
        if self.run_policy is RunPolicy.ALL_MEMBERS:
            return True
        return member_id in self.runners if self.run_policy is RunPolicy.NAMED_MEMBERS else member_id == author_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterAcceptance:
    """Predicate of an acceptance; its subject is the roster's digest.

    Args:
        workspace_id: The workspace.
        epoch: The roster's epoch.
        member_id: Who accepts.
        accepted_at: UTC, RFC 3339.
    """

    workspace_id: str
    epoch: int
    member_id: str
    accepted_at: str


def parse_roster(data: bytes) -> Roster:
    """Parse untrusted roster bytes.

    Raises:
        InvalidInputError: Not a roster.
    """
    return from_bytes(Roster, data, what="member list")
