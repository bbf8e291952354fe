"""`opaque-jobs consent`: any member's veto, at any time."""

from typing import Annotated

import typer

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import review_document
from opaque_jobs.cli.output import print_record
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.reviewing import withdraw_consent
from opaque_jobs.cli.rosters import in_force
from opaque_jobs.cli.session import Acting, acting_member, find_job, member_key, services

__all__ = ["app"]

app = Noun(help="Consent: what you have approved you can take back, at any time.")


@app.command("withdraw")
def withdraw(
    *,
    job: Annotated[str, typer.Argument(help="Job, by id or name.")],
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Withdraw your consent for good: every broker is told at once, and queued and scheduled runs get no keys.

    It works for every job that was ever submitted: cancelled, expired, rejected and superseded ones too.

    A run that has its keys already goes on; who may run the job can end it with 'opaque-jobs run cancel'.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        found = find_job(opened, actor, job)
        actor, job_id = in_force(opened, actor, found.workspace_id), found.id
        view = withdraw_consent(opened, actor, member_key(opened.context.settings, actor, passphrase_file), job_id)
        names = {entry.id: entry.name for entry in opened.workspaces.members()}
        print_record(review_document(view, names), as_json=common().json, title="consent withdrawn")
