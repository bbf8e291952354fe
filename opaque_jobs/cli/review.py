"""`opaque-jobs review`: look, then approve, reject or withdraw, with your signature."""

from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.displaying import digest_agreed, displayed, shown_job
from opaque_jobs.cli.documents import review_document
from opaque_jobs.cli.output import print_json, print_record
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.review_page import read_page, under_review
from opaque_jobs.cli.review_print import print_page
from opaque_jobs.cli.session import Acting, acting_session, member_key
from opaque_jobs.client.finding import find_job
from opaque_jobs.client.reviews import cancel_review, cast_vote
from opaque_jobs.client.rosters import in_force
from opaque_jobs.client.session import Session, listed
from opaque_jobs.client.showing import Shown
from opaque_jobs.client.signed_names import named_job
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.protocol.views import ReviewView

__all__ = ["app"]

app = Noun(help="Reviews: every member approves (or the groups that all chose), or the job does not run.")

Job = Annotated[str, typer.Argument(help="Job, by id or name.")]
Digest = Annotated[
    str | None, typer.Option("--digest", help="Of what you mean, as 'review show' printed it; without, what it showed you last.")
]


def _names(session: Session) -> dict[str, str]:
    return {entry.id: entry.name for entry in listed(session.people.members)}


def _print(session: Session, view: ReviewView, title: str) -> None:
    print_record(review_document(view, _names(session)), as_json=common().json, title=title)


@app.command("show")
def show(*, job: Job, acting: Acting = None) -> None:
    """Show what you would sign: code and what changed in it, data, inputs, what may leave, who has voted, the test.

    With --json, the whole signed document. You can then approve or reject what this showed, and nothing else.
    """
    with acting_session(acting) as (session, actor):
        settings = session.settings
        page = read_page(session, actor, find_job(session, job).id)
    if common().json:
        print_json(page.to_json())
    else:
        print_page(page)
    displayed(settings, actor, shown_job(page.spec))


def _shown_page(session: Session, actor: MemberEntry, job_id: str) -> Shown:
    page = read_page(session, actor, job_id)
    print_page(page)
    return shown_job(page.spec)


def _vote(  # noqa: PLR0917
    job: str, acting: str | None, passphrase_file: Path | None, decision: Decision, comment: str | None, digest: str | None
) -> None:
    with acting_session(acting) as (session, actor):
        found = find_job(session, job)
        signing, job_id = in_force(session, actor, found.workspace_id), found.id
        session.reviews.check_vote(job_id, decision=decision, comment=comment)
        agreed = digest_agreed(
            session.settings,
            signing,
            shown_job(under_review(session, job_id)[1]),
            asked=job,
            typed=digest,
            show=lambda: _shown_page(session, signing, job_id),
        )
        signer = member_key(session.settings, signing, passphrase_file)
        view = cast_vote(session, signing, signer, job_id, decision=decision, comment=comment, expected_digest=agreed)
        _print(session, view, "approved" if decision is Decision.APPROVE else "rejected")


@app.command("approve")
def approve(
    *,
    job: Job,
    comment: Annotated[str | None, typer.Option(help="A remark; its digest is signed too.")] = None,
    digest: Digest = None,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Approve the revision under review, as 'review show' showed it to you. The last approval makes the job accepted.

    What you were not shown is shown now, and you are asked; with --json or without a terminal, its --digest is demanded. What
    its author submitted since you looked is refused.

    Example: opaque-jobs review approve job-0123 --digest sha256:... --as carol
    """
    _vote(job, acting, passphrase_file, Decision.APPROVE, comment, digest)


@app.command("reject")
def reject(
    *,
    job: Job,
    comment: Annotated[str, typer.Option(help="Why. Required.")],
    digest: Digest = None,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Reject the revision under review, with a reason. Brokers are told at once that you withdraw from it for good."""
    _vote(job, acting, passphrase_file, Decision.REJECT, comment, digest)


@app.command("cancel")
def cancel(*, job: Job, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Take your job out of review (also after a rejection), back to draft. What was under review is withdrawn for good."""
    with acting_session(acting, passphrase_file) as (session, actor):
        workspace_id, job_id = named_job(session, actor, job)
        signing = in_force(session, actor, workspace_id)
        view = cancel_review(session, signing, member_key(session.settings, signing, passphrase_file), job_id)
        _print(session, view, "back to draft")
