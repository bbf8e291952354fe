"""What a name means that somebody types: the thing that is called so in what was signed, whatever the database calls so.

Commands that sign something about a thing, or tell the own broker of it, look it up here. An id needs no looking up, so it works
for what the database hides.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from opaque_jobs.cli.agreed_lists import agreed_lists
from opaque_jobs.cli.finding import find_dataset, find_job, find_workspace
from opaque_jobs.cli.own_consent import consents
from opaque_jobs.cli.reviewing import accepted_revisions
from opaque_jobs.cli.session import own_public_keys
from opaque_jobs.cli.signed_list import signed_list
from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import InvalidInputError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.services import Services
from opaque_jobs.services.views import DatasetView

__all__ = ["named_dataset", "named_job", "named_revisions", "named_workspace"]


def named_workspace(opened: Services, member: MemberEntry, text: str) -> str:
    """Give the id of the workspace that is called so in a member list which this member and all others signed, or an id as it is.

    Raises:
        ConflictError: It is pending: nobody can say yet that all call it so.
        InvalidInputError: Two such workspaces have the name.
        NotFoundError: Neither the database nor this member's client knows one.
        TrustError: What the database calls so is no workspace that they all signed by this name.
    """
    if text.startswith("ws-"):
        return text
    _learn(opened, member, text)
    newest = {each.roster.workspace_id: each.roster.name for each in agreed_lists(opened.context.settings, member)}
    found = sorted(each for each, name in newest.items() if name == text)
    if len(found) > 1:
        raise InvalidInputError(
            f"'{text}' is ambiguous: you signed for several of this name", hint="use the id: " + ", ".join(found)
        )
    if not found:
        opened.workspaces.broker_push(find_workspace(opened, member, text).id, actor=member.id)
        raise TrustError(
            f"what the database calls '{text}' is no workspace whose members, you among them, signed this name",
            hint="nothing was signed; compare with 'opaque-jobs workspace show', or name the workspace that you mean by its id",
        )
    return found[0]


def named_dataset(opened: Services, member: MemberEntry, text: str) -> str:
    """Give the id of the own organisation's data set that its signed manifest calls so, or an id as it is.

    Believed are manifests that this member signed, or a colleague whose key is in a member list that this member signed.

    Raises:
        InvalidInputError: Several have the name.
        NotFoundError: The database shows none.
        TrustError: None of those people signed that it is called so.
    """
    if text.startswith("ds-"):
        return text
    view = find_dataset(opened, member, text)
    if not _called(opened, member, view, text):
        raise TrustError(
            f"nothing that you or colleagues in your workspaces signed calls a data set of your organisation '{text}'",
            hint="was the database changed? if not, a colleague encrypted it whose key is not known here: name it by its id",
        )
    return view.id


def named_job(opened: Services, member: MemberEntry, text: str) -> tuple[str, str]:
    """Give the ids of the workspace and the job that is called so by what this member signed, and else by the database.

    Args:
        opened: The services.
        member: Who asks.
        text: Name or id of the job, or the digest of a revision that they signed something about.

    Raises:
        InvalidInputError: Several jobs have the name; of those that the database shows too.
        NotFoundError: Neither the database nor this member's client knows one.
    """
    own = consents(opened.context.settings, member)
    found = {each.job.job_id: each.job.workspace_id for each in own if text in (each.job.job_id, each.job.digest, each.name)}
    try:
        shown = find_job(opened, member, text)
        found.setdefault(shown.id, shown.workspace_id)
    except OpaqueJobsError:
        if not found:
            raise
    if len(found) > 1:
        raise _ambiguous(text, found)
    ((job_id, workspace_id),) = found.items()
    return workspace_id, job_id


def named_revisions(opened: Services, member: MemberEntry, text: str) -> tuple[str, ...]:
    """Give the digests of a job's revisions: those that this member approved, and those that all are proved to have accepted.

    Args:
        opened: The services.
        member: Who asks.
        text: Id or name of the job; or the digest of one revision, which is given as it is.

    Raises:
        InvalidInputError: Several jobs have the name.
        NotFoundError: Nothing known here proves which revisions there are.
    """
    if text.startswith("sha256:"):
        return (text,)
    job_id = named_job(opened, member, text)[1]
    own = [each.job.digest for each in consents(opened.context.settings, member) if each.job.job_id == job_id]
    with suppress(OpaqueJobsError):
        own.extend(each.digest for each in accepted_revisions(opened, member, job_id) if own or text in (job_id, each.name))
    if not own:
        raise NotFoundError(
            f"nothing that you approved, or that all accepted, is called '{text}'",
            hint="give the job digest that 'opaque-jobs review show' prints (sha256:...)",
        )
    return tuple(dict.fromkeys(own))


def _ambiguous(text: str, ids: Iterable[str]) -> InvalidInputError:
    return InvalidInputError(f"'{text}' is ambiguous: several have this name", hint="use the id, one of " + ", ".join(ids))


def _learn(opened: Services, member: MemberEntry, text: str) -> None:
    """Keep the list of what the database calls so, if all signed it: it may have come into force since."""
    with suppress(OpaqueJobsError):
        shown = opened.workspaces.broker_push(opened.workspaces.show(text, actor=member.id).id, actor=member.id)
        signed_list(opened.context.settings, member, shown.roster, shown.acceptances)


def _called(opened: Services, member: MemberEntry, view: DatasetView, text: str) -> bool:
    people = list(_colleagues(opened, member))
    for each in view.versions:
        with suppress(OpaqueJobsError):
            manifest = verify_manifest(each.envelope, people)
            if (manifest.dataset_id, manifest.name) == (view.id, text):
                return True
    return False


def _colleagues(opened: Services, member: MemberEntry) -> Iterator[MemberEntry]:
    """Give those whose word counts for the own organisation: this member by each of their keys, and whom signed lists name."""
    settings = opened.context.settings
    for key in own_public_keys(settings, member):
        yield replace(member, public_key=key.text)
    for agreed in agreed_lists(settings, member):
        yield from (each for each in agreed.roster.members if each.organisation_id == member.organisation_id)
