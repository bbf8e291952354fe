"""Things as people type them: by id or by name, among what the member may see.

Where there is none by that name, the nearest that the member may see anyway is offered, whatever its case: no other name leaves.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final, TypeVar

from opaque_jobs.client.session import Session, listed
from opaque_jobs.client.visible import visible
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.protocol.views import DatasetView, JobView, WorkspaceView

__all__ = ["find_dataset", "find_job", "find_member", "find_workspace", "nearest", "offering"]

_Found = TypeVar("_Found", JobView, DatasetView)
_NEAR: Final = 0.75


def nearest(wanted: str, known: Iterable[str]) -> list[str]:
    """Give the known name that somebody most likely meant, in each of its spellings; none if none is near, or it is that name."""
    spellings: dict[str, list[str]] = {}
    for name in sorted(set(known)):
        spellings.setdefault(name.casefold(), []).append(name)
    close = get_close_matches(wanted.casefold(), spellings, n=1, cutoff=_NEAR)
    found = spellings[close[0]] if close else []
    return [] if wanted in found else found


def offering(error: NotFoundError, wanted: str, known: Iterable[str]) -> NotFoundError:
    """Give the error with the nearest name in its hint."""
    near = " or ".join(f"'{visible(name)}'" for name in nearest(wanted, known))
    return NotFoundError(error.message, hint=f"did you mean {near}? {error.hint}" if near else error.hint, **error.facts)


def find_member(session: Session, name: str) -> MemberEntry:
    """Return a member by their exact log-in name, whom one may invite by it; colleagues and partners are offered instead.

    Raises:
        NotFoundError: Nobody by that name.
    """
    for each in session.people.members(name=name).items:
        return each
    error = NotFoundError("nobody by this name is registered", hint="see 'opaque-jobs member list'")
    raise offering(error, name, [each.name for each in listed(session.people.members)])


def find_workspace(session: Session, text: str) -> WorkspaceView:
    """Give a workspace by id or name.

    Raises:
        NotFoundError: None, or the actor may not know of it.
        ConflictError: Two of the actor's workspaces have the name.
    """
    try:
        return session.workspaces.show(text)
    except NotFoundError as error:
        names = [view.name for view in listed(session.workspaces.list, archived=True)]
        raise offering(error, text, names) from None


def find_job(session: Session, text: str) -> JobView:
    """Give a job by id, or by a name that only one of the actor's jobs has; archived ones count if no other has it.

    Raises:
        NotFoundError: None, or the actor may not know of it.
        InvalidInputError: Several have the name.
    """
    if text.startswith("job-"):
        return session.jobs.show(text)
    seen = list(listed(session.jobs.list, archived=True))
    found = [view for view in seen if view.draft.name == text]
    return _just_one(
        [view for view in found if not view.archived] or found, "job", text, known=[view.draft.name for view in seen]
    )


def find_dataset(session: Session, text: str, *, workspace_id: str | None = None) -> DatasetView:
    """Give a data set by id, or by a name that only one of the actor's (or the workspace's) has.

    Raises:
        NotFoundError: None, or the actor may not know of it.
        InvalidInputError: Several have the name.
    """
    if text.startswith("ds-"):
        return session.datasets.show(text)
    seen = list(listed(session.datasets.list, workspace_id=workspace_id))
    return _just_one([view for view in seen if view.name == text], "data set", text, known=[view.name for view in seen])


def _just_one(found: Sequence[_Found], what: str, name: str, *, known: Iterable[str]) -> _Found:
    if not found:
        error = NotFoundError(
            f"there is no {what} '{name}' that you may see", hint=f"see 'opaque-jobs {what.replace(' ', '')} list'"
        )
        raise offering(error, name, known)
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        raise InvalidInputError(f"'{name}' is ambiguous: {len(found)} {what}s have this name", hint=f"use the id, one of {ids}")
    return found[0]
