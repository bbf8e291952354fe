"""People and organisations as the coordinator's own machine knows them: all that are registered."""

from collections.abc import Iterable

from opaque_jobs.client.finding import offering
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import NotFoundError
from opaque_jobs.protocol.views import OrganisationView
from opaque_jobs.services import Services

__all__ = ["find_member", "find_organisation"]


def find_member(opened: Services, name: str, *, known: Iterable[str] | None = None) -> MemberEntry:
    """Give a member by log-in name.

    Args:
        opened: The services.
        name: The name.
        known: Names that may be offered instead; None for all that 'opaque-jobs member list' shows.

    Raises:
        NotFoundError: Nobody by that name.
    """
    try:
        return opened.workspaces.member_for_login(name)
    except NotFoundError as error:
        names = [each.name for each in opened.workspaces.members()] if known is None else known
        raise offering(error, name, names) from None


def find_organisation(opened: Services, text: str) -> OrganisationView:
    """Give an organisation by id or name; all are known to everybody, see 'opaque-jobs org list'.

    Raises:
        NotFoundError: None by that id or name.
    """
    try:
        return opened.workspaces.organisation(text)
    except NotFoundError as error:
        raise offering(error, text, [view.entry.name for view in opened.workspaces.organisations()]) from None
