"""What was displayed to a member, kept by their client; and asking them, before something is signed or changed."""

import sys
from collections.abc import Callable, Sequence

import typer

from opaque_jobs.cli.command import common
from opaque_jobs.cli.output import escape, stderr
from opaque_jobs.client.keys import member_key_path
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.showing import Shown, another_than_displayed, digest_to_sign, fingerprint
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import ConflictError, InvalidInputError
from opaque_jobs.settings import Settings

__all__ = ["can_ask", "confirming", "digest_agreed", "displayed", "shown_job", "shown_list"]


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
    settings: Settings, member: MemberEntry, document: Shown, *, asked: str, typed: str | None, show: Callable[[], Shown]
) -> str:
    """Return the digest that a member has looked at, or typed; at a terminal, show the document first if it was never shown.

    Args:
        settings: Of this home.
        member: Who would sign.
        document: What there is to sign.
        asked: The id or name by which the member asked for it.
        typed: From `--digest`.
        show: Prints all of it, read again or not; returns what it printed.

    Raises:
        ConflictError: It was not displayed and nobody can be asked, the member declined, or they looked at another.
        TrustError: It is another thing than the member asked for.
    """
    memory = own_memory(settings, member)
    agreed = digest_to_sign(document, asked=asked, shown=memory.shown(), signed=memory.signed(), typed=typed)
    if agreed is not None:
        return agreed
    if not can_ask():
        raise ConflictError(
            "nothing was signed: what there is to sign was not displayed to you",
            hint="look at it with 'show', then say this again; or give the --digest that you mean",
        )
    if show() != document:
        raise another_than_displayed(document)
    if not typer.confirm(f"\nSign exactly this, {fingerprint(document.digest)}?"):
        # Not kept as displayed: who declined is shown it and asked again, before anything is signed.
        raise ConflictError("nothing was signed", hint="you declined")
    displayed(settings, member, document)
    return document.digest


def confirming(sure: bool) -> Callable[[Sequence[str]], None]:
    """Return what shows a change in words, and goes on only if it is wanted.

    Args:
        sure: Wanted already; nobody is asked.
    """

    def confirm(words: Sequence[str]) -> None:
        for line in words:
            stderr().print(escape(line))
        if sure:
            return
        if not sys.stdin.isatty():  # asked on stderr: the answer's stream may be a file
            raise InvalidInputError("this change must be confirmed, and nobody can be asked here", hint="give --yes")
        if not typer.confirm("change it?", err=True):
            raise ConflictError("nothing was changed", hint="leave out what you do not want changed")

    return confirm
