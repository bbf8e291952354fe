"""Whether a member may sign a document: only what was displayed to them, or whose digest they typed. Pure.

This is the rule's one home. It is asked with what the member typed, so that nothing displayed under one name, or of one thing, is
signed as another.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from opaque_jobs.errors import ConflictError, TrustError

__all__ = ["Shown", "another_than_displayed", "digest_to_sign", "fingerprint"]

_SHORT: Final = 16
_GROUP: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A document that is signed, as it is displayed.

    Args:
        subject: Id of the job or workspace.
        name: What the document itself calls it.
        digest: Of its canonical bytes: what is signed.
    """

    subject: str
    name: str
    digest: str


def digest_to_sign(
    document: Shown, *, asked: str, shown: Sequence[Shown], signed: Collection[str], typed: str | None
) -> str | None:
    """Return the digest that may be signed now; None if the document has to be displayed to the member first.

    Args:
        document: What there is to sign, as somebody untrusted presents it.
        asked: By which id or name the member asked for it.
        shown: What this member's client displayed, newest last.
        signed: Digests of what this member signed: a display that was signed is used up, and what follows needs its own.
        typed: A digest that the member gave; it counts in place of a display.

    Raises:
        ConflictError: The document is not the one that was displayed last, or whose digest was typed.
        TrustError: The document is another thing than the member asked for.
    """
    if typed is not None:
        if typed != document.digest:
            raise another_than_displayed(document)
        return typed
    if asked not in (document.subject, document.name):
        raise TrustError(
            f"what the database calls '{asked}' is called otherwise in what would be signed",
            hint="nothing was signed; look at it and name it by its id",
        )
    seen = [each for each in shown if asked in (each.subject, each.name)]
    if not seen:
        return None
    if seen[-1] == document:
        return document.digest
    if seen[-1].digest in signed and seen[-1].subject == document.subject:
        return None
    raise another_than_displayed(document)


def fingerprint(digest: str) -> str:
    """Return the beginning of a digest in groups that people compare."""
    short = digest.removeprefix("sha256:")[:_SHORT]
    return " ".join(short[at : at + _GROUP] for at in range(0, len(short), _GROUP))


def another_than_displayed(document: Shown) -> ConflictError:
    """Return the refusal of a document that is not the one that was displayed."""
    return ConflictError(
        "what there is to sign is not the one that you looked at: it was changed since",
        hint="nothing was signed; look at it again, then decide",
        subject=document.subject,
    )
