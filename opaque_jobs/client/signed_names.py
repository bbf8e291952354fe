"""What a name means that somebody types: the thing that is called so in what was signed, whatever the database calls so.

Commands that sign something about a thing, or tell the own broker of it, look it up here. An id needs no looking up, so it works
for what the database hides.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from opaque_jobs.client.finding import find_dataset, find_job, find_workspace
from opaque_jobs.client.keys import own_public_keys
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.reviews import accepted_revisions
from opaque_jobs.client.session import Session, listed
from opaque_jobs.client.signed_lists import learn_lists
from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import DatasetView

__all__ = ["checked_digest", "held_job", "is_id", "named_dataset", "named_job", "named_workspace", "waiting_workspace"]

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def named_workspace(session: Session, member: MemberEntry, text: str) -> str:
    """Give the id of the workspace that is called so in a member list which this member and all others signed, or an id as it is.

    Raises:
        ConflictError: It is pending: nobody can say yet that all call it so.
        InvalidInputError: Two such workspaces have the name.
        NotFoundError: Neither the database nor this member's client knows one, or the member's key is not here.
        TrustError: What the database calls so is no workspace that they all signed by this name.
    """
    if is_id(text, "ws"):
        return text
    learn_lists(session, member, *_own_workspaces(session))
    newest = {each.roster.workspace_id: each.roster.name for each in own_memory(session.settings, member).agreed_lists()}
    found = sorted(each for each, name in newest.items() if name == text)
    if len(found) > 1:
        raise InvalidInputError(
            f"'{text}' is ambiguous: you signed for several of this name", hint="use the id: " + ", ".join(found)
        )
    if not found:
        own_public_keys(session.settings, member)  # without a key here, nothing was ever signed here
        session.workspaces.broker_push(find_workspace(session, text).id)
        raise TrustError(
            f"what the database calls '{text}' is no workspace whose members, you among them, signed this name",
            hint="nothing was signed; compare with 'opaque-jobs workspace show', or name the workspace that you mean by its id",
        )
    return found[0]


def waiting_workspace(session: Session, member: MemberEntry, text: str) -> str:
    """Give the id of a workspace whose member list may still wait: of the one that this member signed for by this name, if any.

    Lists that they took back name nothing any more.

    Raises:
        ConflictError: The database calls two so.
        NotFoundError: Neither the database nor this member's client knows one.
        TrustError: The database calls another so than the one that they signed for.
    """
    if is_id(text, "ws"):
        return text
    settings = session.settings
    over = {each.digest for each in own_memory(settings, member).lists_taken_back()}
    signed = (
        *own_memory(settings, member).signed_lists(),
        *(each.roster for each in own_memory(settings, member).agreed_lists()),
    )
    known = {each.workspace_id for each in signed if each.name == text and each.digest not in over}
    try:
        shown = find_workspace(session, text).id
    except ConflictError:  # two have the name
        raise
    except OpaqueJobsError:
        if len(known) == 1:
            return known.pop()
        raise
    if known and shown not in known:
        raise TrustError(
            f"the database calls another workspace '{text}' than the one that you signed for",
            hint=f"if it is the one that you mean, name it by its id {shown}; you signed for {', '.join(sorted(known))}",
        )
    return shown


def named_dataset(session: Session, member: MemberEntry, text: str) -> str:
    """Give the id of the own organisation's data set that its signed manifests call so, or an id as it is.

    Believed are manifests that this member signed, or a colleague whom the newest member list of a workspace names that this
    member signed too.

    Raises:
        InvalidInputError: Several have the name.
        NotFoundError: The database shows none.
        TrustError: None of those people signed that it is called so, or one signed that it is called otherwise.
    """
    if is_id(text, "ds"):
        return text
    view = find_dataset(session, text)
    if view.id == text:
        return text
    learn_lists(session, member, *_own_workspaces(session))
    if _names(session, member, view) != {text}:
        raise TrustError(
            f"nothing that you or colleagues in your workspaces signed calls a data set of your organisation '{text}'",
            hint="was the database changed? if not, a colleague encrypted it whose key is not known here: give its id "
            "('opaque-jobs dataset list')",
        )
    return view.id


def named_job(session: Session, member: MemberEntry, text: str) -> tuple[str, str]:
    """Give the ids of the workspace and the job that is called so by what this member signed, and else by the database.

    Args:
        session: The member's.
        member: Who asks.
        text: Name or id of the job, or the digest of a revision that they signed something about.

    Raises:
        InvalidInputError: Several jobs have the name; of those that the database shows too.
        NotFoundError: Neither the database nor this member's client knows one.
    """
    own = own_memory(session.settings, member).consents()
    found = {each.job.job_id: each.job.workspace_id for each in own if text in (each.job.job_id, each.job.digest)}
    if not (found or is_id(text, "job")):  # a job may be called like another's id
        found = {each.job.job_id: each.job.workspace_id for each in own if text == each.name}
    try:
        shown = find_job(session, text)
        found.setdefault(shown.id, shown.workspace_id)
    except OpaqueJobsError:
        if not found:
            raise
    if len(found) > 1:
        raise _ambiguous(text, found)
    ((job_id, workspace_id),) = found.items()
    return workspace_id, job_id


def held_job(session: Session, member: MemberEntry, text: str) -> str:
    """Give the id of the job that this member approved, or that all are proved to have accepted, by this name.

    Raises:
        InvalidInputError: Several jobs have the name.
        NotFoundError: Nothing known here proves that a job is called so.
    """
    job_id = named_job(session, member, text)[1]
    names = {each.name for each in own_memory(session.settings, member).consents() if each.job.job_id == job_id}
    with suppress(OpaqueJobsError):
        names.update(each.name for each in accepted_revisions(session, member, job_id))
    if text not in names:
        raise NotFoundError(
            f"nothing that you approved, or that all accepted, is called '{text}'",
            hint="name the job by its id, or by the digest that 'opaque-jobs review show' prints (sha256:...)",
        )
    return job_id


def is_id(text: str, kind: str) -> bool:
    """Tell whether this is an id of that kind of thing, and no name that looks like one."""
    return re.fullmatch(rf"{kind}-[0-9a-f]{{24}}", text) is not None


def checked_digest(text: str) -> str:
    """Give a digest back.

    Raises:
        InvalidInputError: It is none.
    """
    if not _DIGEST.fullmatch(text):
        raise InvalidInputError("this is no digest", hint="write it as it is printed: sha256: and 64 hexadecimal digits")
    return text


def _ambiguous(text: str, ids: Iterable[str]) -> InvalidInputError:
    return InvalidInputError(f"'{text}' is ambiguous: several have this name", hint="use the id, one of " + ", ".join(ids))


def _own_workspaces(session: Session) -> list[str]:
    try:
        return [each.id for each in listed(session.workspaces.list, archived=True)]
    except OpaqueJobsError:
        return []


def _names(session: Session, member: MemberEntry, view: DatasetView) -> set[str]:
    people, found = list(_colleagues(session, member)), set()
    for each in view.versions:
        with suppress(OpaqueJobsError):
            manifest = verify_manifest(each.envelope, people)
            if manifest.dataset_id == view.id:
                found.add(manifest.name)
    return found


def _colleagues(session: Session, member: MemberEntry) -> Iterator[MemberEntry]:
    """Give those whose word counts for the own organisation: this member by each of their keys, and whom signed lists name."""
    settings = session.settings
    for key in own_public_keys(settings, member):
        yield replace(member, public_key=key.text)
    newest = {each.roster.workspace_id: each.roster for each in own_memory(settings, member).agreed_lists()}
    for roster in newest.values():
        yield from (each for each in roster.members if each.organisation_id == member.organisation_id)
