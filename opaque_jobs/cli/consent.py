"""`opaque-jobs consent`: any member's veto, at any time."""

from typing import Annotated

import typer

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import review_document
from opaque_jobs.cli.finding import find_job
from opaque_jobs.cli.output import print_record, stderr
from opaque_jobs.cli.own_consent import own_job
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.rosters import in_force
from opaque_jobs.cli.session import Acting, acting_member, member_key, services
from opaque_jobs.cli.withdrawing import withdraw_consent
from opaque_jobs.domain.review import NamedJob

__all__ = ["app"]

app = Noun(help="Consent: what you have approved you can take back, at any time.")


@app.command("withdraw")
def withdraw(
    *,
    job: Annotated[str, typer.Argument(help="Job, by id, by name, or by a digest that you approved.")],
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Withdraw your consent for good: every broker is told at once, and queued and scheduled runs get no keys.

    It works for every job that was ever submitted: cancelled, expired, rejected and superseded ones too. One that the
    metadata database shows no more you name by its id, or by the digest that you approved.

    A run that has its keys already goes on; who may run the job can end it with 'opaque-jobs run cancel'.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        own = own_job(opened.context.settings, actor, job)
        found = own or find_job(opened, actor, job)
        job_id = found.job_id if isinstance(found, NamedJob) else found.id
        actor = in_force(opened, actor, found.workspace_id)
        view = withdraw_consent(opened, actor, member_key(opened.context.settings, actor, passphrase_file), job_id)
        if view is None:
            stderr().print("every broker was told; the metadata database does not show this job")
            print_record({"job_id": job_id, "status": "withdrawn"}, as_json=common().json, title="consent withdrawn")
            return
        names = {entry.id: entry.name for entry in opened.workspaces.members()}
        print_record(review_document(view, names), as_json=common().json, title="consent withdrawn")
