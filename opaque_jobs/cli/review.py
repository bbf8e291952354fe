"""`opaque-jobs review`: look, then approve, reject or withdraw, with your signature."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.syntax import Syntax

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import review_document
from opaque_jobs.cli.output import print_json, print_record, print_rows, stdout, trust_text
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.reviewing import cast_vote, withdraw_consent
from opaque_jobs.cli.session import Acting, acting_member, find_job, open_member_key, services
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.services import Services
from opaque_jobs.services.views import ReviewView

__all__ = ["app"]

app = Noun(help="Reviews: every member approves, or the job does not run.")

Job = Annotated[str, typer.Argument(help="Job, by id or name.")]
Digest = Annotated[
    str | None, typer.Option("--digest", help="Vote only if the job digest is this one (as 'review show' printed it).")
]


def _names(opened: Services) -> dict[str, str]:
    return {entry.id: entry.name for entry in opened.workspaces.members()}


def _print(opened: Services, view: ReviewView, title: str) -> None:
    print_record(review_document(view, _names(opened)), as_json=common().json, title=title)


@app.command("show")
def show(
    *,
    job: Job,
    diff: Annotated[bool, typer.Option("--diff", help="What changed since the revision last accepted.")] = False,
    acting: Acting = None,
) -> None:
    """Show exactly what you would sign: code, data sets and columns, inputs, limits, reruns, and who has voted."""
    with services() as opened:
        actor = acting_member(opened, acting)
        job_id = find_job(opened, actor, job).id
        view = opened.reviews.status(job_id, actor=actor.id)
        spec = parse_job_spec(view.spec_bytes)
        changes = opened.jobs.diff(job_id, actor=actor.id) if diff else None
        document = review_document(view, _names(opened))
        owners = {each.entry.id: each.entry.name for each in opened.workspaces.organisations()}
    if common().json:
        print_json({**document, "spec": spec.to_json(), "diff": changes})
        return
    console = stdout()
    print_record({key: value for key, value in document.items() if key != "votes"}, as_json=False, title=spec.name)
    console.print("\n[bold]votes[/]")
    print_rows(document["votes"], ["member", "decision", "comment", "voted_at"], as_json=False)
    console.print("\n[bold]data that it reads[/]")
    print_rows(_uses(spec, owners), ["name", "owner", "version", "columns", "manifest_digest"], as_json=False)
    if spec.inputs:
        console.print("\n[bold]input variables[/]")
        print_rows(_inputs(spec), ["name", "type", "default", "may_be_set", "constraints"], as_json=False)
    shown = {"code", "name", "v", "datasets", "inputs"}
    rest = {key: value for key, value in spec.to_json().items() if key not in shown}
    print_record(rest, as_json=False, title="\neverything else that is signed")
    if "simulated" in spec.tee_kinds:
        console.print(f"accepts: {trust_text('simulated')}")
    console.print("\n[bold]code[/]")
    console.print(Syntax(spec.code.text, spec.code.language.value, theme="ansi_dark", background_color="default"))
    if changes is not None:
        console.print("\n[bold]changes since the revision last accepted[/]")
        console.print(Syntax(changes, "diff", theme="ansi_dark", background_color="default"))


def _uses(spec: JobSpec, owners: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": use.alias,
            "owner": owners.get(use.organisation_id, use.organisation_id),
            "version": use.dataset_version,
            "columns": list(use.columns),
            "manifest_digest": use.manifest_digest,
        }
        for use in spec.datasets
    ]


def _inputs(spec: JobSpec) -> list[dict[str, Any]]:
    return [
        {
            "name": variable.name,
            "type": variable.type.value,
            "default": variable.default,
            "may_be_set": variable.name in spec.rerun_terms.variable_inputs,
            "constraints": " or ".join(
                " and ".join(f"{each.kind.value} {each.value}" for each in group) for group in variable.constraints
            ),
        }
        for variable in spec.inputs
    ]


def _vote(  # noqa: PLR0917
    job: str, acting: str | None, passphrase_file: Path | None, decision: Decision, comment: str | None, digest: str | None
) -> None:
    with services() as opened:
        actor = acting_member(opened, acting)
        job_id = find_job(opened, actor, job).id
        signer = open_member_key(opened.context.settings, actor, passphrase_file)
        view = cast_vote(opened, actor, signer, job_id, decision=decision, comment=comment, expected_digest=digest)
        _print(opened, view, "approved" if decision is Decision.APPROVE else "rejected")


@app.command("approve")
def approve(
    *,
    job: Job,
    comment: Annotated[str | None, typer.Option(help="A remark; its digest is signed too.")] = None,
    digest: Digest = None,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Approve the revision under review. The last approval makes the job accepted.

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
    """Reject the revision under review, with a reason."""
    _vote(job, acting, passphrase_file, Decision.REJECT, comment, digest)


@app.command("withdraw")
def withdraw(*, job: Job, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Withdraw your consent. It takes effect before the next key release, also for runs that wait."""
    with services() as opened:
        actor: MemberEntry = acting_member(opened, acting)
        job_id = find_job(opened, actor, job).id
        signer = open_member_key(opened.context.settings, actor, passphrase_file)
        _print(opened, withdraw_consent(opened, actor, signer, job_id), "consent withdrawn")


@app.command("cancel")
def cancel(*, job: Job, acting: Acting = None) -> None:
    """Take your job out of review (also after a rejection), back to draft."""
    with services() as opened:
        actor = acting_member(opened, acting)
        view = opened.reviews.cancel_review(actor=actor.id, job_id=find_job(opened, actor, job).id)
        _print(opened, view, "back to draft")
