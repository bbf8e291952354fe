"""What was displayed to a member, kept by their client; and asking them where nothing was."""

import sys
from collections.abc import Callable

import typer

from opaque_jobs.cli.command import common
from opaque_jobs.cli.own_memory import own_memory
from opaque_jobs.cli.session import member_key_path
from opaque_jobs.client.showing import Shown, digest_to_sign, fingerprint
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import ConflictError
from opaque_jobs.settings import Settings

__all__ = ["can_ask", "digest_agreed", "displayed", "shown_job", "shown_list"]


def shown_job(spec: JobSpec) -> Shown:
    """Return a job document as something to sign."""
    return Shown(subject=spec.job_id, name=spec.name, digest=spec.digest)


def shown_list(roster: Roster) -> Shown:
    """Return a member list as something to sign."""
    return Shown(subject=roster.workspace_id, name=roster.name, digest=roster.digest)


def displayed(settings: Settings, member: MemberEntry, document: Shown) -> None:
    """Keep that a document was displayed, where the member has a key to sign with.

    Raises:
        ConfigurationError: It cannot be kept.
    """
    if member_key_path(settings, member.name).exists():
        own_memory(settings, member).remember_shown(document)


def can_ask() -> bool:
    """Tell whether somebody sees what is printed and can answer."""
    return not common().json and sys.stdin.isatty() and sys.stdout.isatty()


def digest_agreed(
    settings: Settings, member: MemberEntry, document: Shown, *, asked: str, typed: str | None, show: Callable[[], None]
) -> str:
    """Return the digest that a member has looked at, or typed; at a terminal, show the document first if it was never shown.

    Args:
        settings: Of this home.
        member: Who would sign.
        document: What there is to sign.
        asked: The id or name by which the member asked for it.
        typed: From `--digest`.
        show: Prints all of it.

    Raises:
        ConflictError: It was not displayed and nobody can be asked, the member declined, or they looked at another.
        TrustError: It is another thing than the member asked for.
    """
    agreed = digest_to_sign(document, asked=asked, shown=own_memory(settings, member).shown(), typed=typed)
    if agreed is not None:
        return agreed
    if not can_ask():
        raise ConflictError(
            "nothing was signed: what there is to sign was not displayed to you",
            hint="look at it with 'show', then say this again; or give the --digest that you mean",
        )
    show()
    displayed(settings, member, document)
    if not typer.confirm(f"\nSign exactly this, {fingerprint(document.digest)}?"):
        raise ConflictError("nothing was signed", hint="you declined")
    return document.digest
