"""Who may do what: the table of `product.md`, in one place."""

from enum import StrEnum
from typing import Final

__all__ = ["Action", "Role", "may", "role_of"]


class Role(StrEnum):
    """How a person stands to a job."""

    AUTHOR = "author"
    COLLEAGUE = "colleague"
    PARTNER = "partner"
    OUTSIDER = "outsider"


class Action(StrEnum):
    """What a person may want to do with a job (running is the roster's run policy: `Roster.may_run`)."""

    SEE = "see"
    EDIT = "edit"
    TEST_DRAFT = "test_draft"
    TEST_UNDER_REVIEW = "test_under_review"
    VOTE = "vote"
    WITHDRAW = "withdraw"
    READ_RESULT = "read_result"
    VERIFY_RECEIPT = "verify_receipt"


_MEMBERS: Final = frozenset({Role.AUTHOR, Role.COLLEAGUE, Role.PARTNER})
_ALLOWED: Final[dict[Action, frozenset[Role]]] = {
    Action.SEE: _MEMBERS,
    Action.EDIT: frozenset({Role.AUTHOR}),
    Action.TEST_DRAFT: frozenset({Role.AUTHOR}),
    Action.TEST_UNDER_REVIEW: _MEMBERS,
    Action.VOTE: frozenset({Role.COLLEAGUE, Role.PARTNER}),
    Action.WITHDRAW: _MEMBERS,
    Action.READ_RESULT: frozenset({Role.AUTHOR, Role.COLLEAGUE}),
    Action.VERIFY_RECEIPT: frozenset(Role),
}


def role_of(
    member_id: str | None, organisation_id: str | None, *, author_id: str, author_organisation_id: str, is_member: bool
) -> Role:
    """Give the role of a person; without workspace membership everybody is an outsider."""
    if not is_member or member_id is None:
        return Role.OUTSIDER
    if member_id == author_id:
        return Role.AUTHOR
    return Role.COLLEAGUE if organisation_id == author_organisation_id else Role.PARTNER


def may(role: Role, action: Action) -> bool:
    """Tell whether the role allows the action."""
    return role in _ALLOWED[action]
