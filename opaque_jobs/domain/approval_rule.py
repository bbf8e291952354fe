"""Whose approvals a job needs: everybody's, or those of groups that all members agreed on.

The rule stands in the roster, so every member signs it by accepting the roster, and another rule is another epoch. Unanimity
is what holds when nobody chose anything else. Groups never go behind a data owner's back: whatever the groups say, the job's
author and at least one member of every organisation whose data the job reads must have approved it, and one member's rejection
or withdrawal ends it as before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opaque_jobs.domain.ids import check_name
from opaque_jobs.errors import InvalidInputError

__all__ = ["MAX_GROUPS", "ApprovalGroup", "ApprovalRule", "Demand", "check_groups"]

MAX_GROUPS: Final = 20


class ApprovalRule(StrEnum):
    """How a workspace consents to a job."""

    UNANIMOUS = "unanimous"
    GROUPS = "groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGroup:
    """Members of whom some must approve.

    Args:
        name: 1-50 letters, digits, spaces, `_` or `-`.
        threshold: How many of them; at least one, at most all.
        member_ids: Who, ascending; somebody may be in several groups.

    Raises:
        InvalidInputError: An invariant does not hold.
    """

    name: str
    threshold: int
    member_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name, what="approval group")
        if list(self.member_ids) != sorted(set(self.member_ids)) or not 1 <= self.threshold <= len(self.member_ids):
            raise InvalidInputError(
                "an approval group asks for none of its members, or for more than it has",
                hint="write it as NAME:HOW_MANY:member,member with each member once",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Approvals that one job needs from some members.

    Args:
        refusal: The code with which the job is refused while they are missing.
        name: Of whom, for people.
        threshold: How many.
        member_ids: From whom.
    """

    refusal: str
    name: str
    threshold: int
    member_ids: frozenset[str]

    def missing(self, approving_ids: frozenset[str]) -> int:
        """Give how many more approvals are needed; nobody counts twice, and nobody else counts."""
        return max(0, self.threshold - len(self.member_ids & approving_ids))


def check_groups(groups: Sequence[ApprovalGroup], member_ids: Sequence[str]) -> None:
    """Check the groups of one roster.

    Raises:
        InvalidInputError: Too many, not in order of name, a name twice, or with somebody who is no member.
    """
    names = [group.name for group in groups]
    if len(groups) > MAX_GROUPS or names != sorted(set(names)):
        raise InvalidInputError(
            "the approval groups are too many, or two have the same name", hint=f"at most {MAX_GROUPS}, each with its own name"
        )
    if not {each for group in groups for each in group.member_ids} <= set(member_ids):
        raise InvalidInputError(
            "an approval group names somebody who is not a member",
            hint="give the groups anew with --approval-group, or go back to --unanimous",
        )
